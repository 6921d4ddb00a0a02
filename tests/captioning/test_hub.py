"""A captioner of the hub: looked at without a download, then exactly its files, then offline."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.captioning import inspect
from tests.captioning.conftest import files_of, noise
from tests.fake_hub import serve


@pytest.fixture
def ask(tmp_path):
    """What a process finds: `ask(url, run, mode)` captions a folder with me/blip."""
    data = tmp_path / "data"
    data.mkdir()
    for seed in range(3):
        noise(seed).save(data / f"{seed}.png")

    def run(url, name, mode="online"):
        env = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-m", "tests.captioning.ask_hub", str(data), str(tmp_path / name), mode]
        env |= {"HF_HUB_DISABLE_XET": "1", "no_proxy": "*"}
        done = subprocess.run(command, cwd=Path(__file__).parents[2], env=env, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""  # the libraries say nothing of their own accord
        return json.loads(done.stdout)

    return run


def test_exactly_the_needed_files_are_downloaded_and_do_offline(ask, blip):
    facts = inspect(files_of(blip), allow_pickle=False)
    files = {path.name: path.read_bytes() for path in blip.iterdir()}
    others = {"README.md": b"# BLIP", "pytorch_model.bin": b"a pickle", "modeling.py": b"raise SystemExit('was run')"}
    with serve({"me/blip": {**files, **others}}) as url:
        online = ask(url, "first")
    assert online["parameters"] == facts.parameters
    assert online["missing"] == {name: len(files[name]) for name in facts.names}
    assert online["kept"] == []
    assert online["here"] == sorted(facts.names)
    assert all(online["captions"].values())
    offline = ask(url, "second", "offline")
    assert offline["captions"] == online["captions"]
    assert offline["missing"] == {}
