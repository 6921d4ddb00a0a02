"""Commands that meet a fault: the n-th change of files fails, or is the last thing that the process does.

`Forks` runs commands; `Strike` says what they meet; `strike.c` brings it about.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.corpus.table import Outcome

SIGNAL, TEAR, ONCE, ON = range(4)  # as in strike.c


@dataclass(frozen=True)
class Strike:
    """What happens at a change of files.

    Attributes:
        how: SIGNAL: the process gets the signal `number` before it. TEAR: likewise, after half of what is written.
            ONCE: it fails with the errno `number`. ON: likewise, and so does all that takes room from then on.
        number: of a signal or an error.
        at: the how manieth change, counted from 1; 0 only counts.
        where: only changes like this pattern are counted: "call path", such as "rename *step-000002".
    """

    how: int
    number: int
    at: int = 1
    where: str = "*"


def compiled(folder):
    """strike.c as a library in `folder`.

    Raises:
        OSError, subprocess.CalledProcessError: there is no C compiler, or not of such a system.
    """
    library = folder / "strike.so"
    source = Path(__file__).with_name("strike.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, capture_output=True)
    return library


class Forks:
    """Runs commands one at a time in children of one process that has imported everything (zygote.py)."""

    def __init__(self, library):
        environment = {**os.environ, "LD_PRELOAD": str(library)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            **{"cwd": ROOT, "env": environment, "text": True, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE},
        )

    def close(self):
        self._process.communicate()

    def start(self, folder, *argv, strike=None, log=None):
        """Begins a command in `folder`, below which changes are counted, and named in the file `log`.

        Returns:
            Its pid; `end` waits for it.
        """
        self._said = folder.with_name(f"{folder.name}.said")
        self._said.unlink(missing_ok=True)
        asked = {
            **{"argv": argv, "folder": str(folder), "cache": str(folder / "cache"), "said": str(self._said)},
            **{"strike": asdict(strike or Strike(ONCE, 0, at=0)), "log": log and str(log)},
        }
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())

    def end(self):
        """How it ended: as `subprocess`, a negative code is that of a signal."""
        status = int(self._process.stdout.readline())
        return Outcome(os.waitstatus_to_exitcode(status), self._said.read_text("utf-8", "replace"))

    def __call__(self, folder, *argv, **met):
        """A whole command."""
        self.start(folder, *argv, **met)
        return self.end()
