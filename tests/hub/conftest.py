"""What the hub tests share: asking a hub in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path


class Hub:
    """A hub at an address, and a folder of this machine for its cache."""

    def __init__(self, url: str, home: Path) -> None:
        self.url, self.home = url, home

    def ask(self, *questions: dict) -> list[dict]:
        env = {**os.environ, "HF_ENDPOINT": self.url, "HF_HOME": str(self.home), "HF_HUB_OFFLINE": "0"}
        env |= {"HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_planted", "no_proxy": "*"}
        result = subprocess.run(
            [sys.executable, "-m", "tests.hub.ask_models"],
            input=json.dumps(questions),
            cwd=Path(__file__).parents[2],
            env=env,
            text=True,
            capture_output=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""  # the libraries say nothing of their own accord
        assert "hf_planted" not in result.stdout
        return json.loads(result.stdout)
