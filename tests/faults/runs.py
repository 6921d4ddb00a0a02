"""What is left of a run, to be compared."""

import re
import signal
from contextlib import contextmanager
from itertools import count

import pytest

from runner.outputs.folder import RunFolder
from runner.training import checkpoints
from runner.training.keeper import Keeper

RUN = ("run", "recipe.yaml", "--quiet")
_OF_THE_SESSION = {"run.json", "lock"}


def newest(folder):
    """The newest run below a working directory."""
    return (folder / "outputs" / "toy" / "latest").resolve()


def made(run):
    """The bytes of all that a run keeps, by path; the log without rates, sample.yaml without the run's own path."""
    files = {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    files["sample.yaml"] = re.sub(rb"\S+/toy/\d+", b"THE_RUN", files.get("sample.yaml", b""))
    kept = {name: data for name, data in files.items() if name not in _OF_THE_SESSION}
    return {**kept, "log.jsonl": log(run)}


def log(run):
    """The lines of a log without what the clock decides."""
    lines = RunFolder(run).read_log()
    return [{key: value for key, value in line.items() if key != "images_per_second"} for line in lines]


def differing(run, expected):
    """The files of a run that are missing, surplus or other than expected."""
    found = made(run)
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def reached(run):
    """The last step that was logged."""
    return max([0, *(line["step"] for line in log(run))])


def saved(run):
    """The step of the newest checkpoint, which must be whole."""
    checkpoint, damaged = checkpoints.newest(run / "checkpoints")
    assert damaged == []
    return checkpoint.step if checkpoint else 0


@contextmanager
def stopped_after(steps):
    """SIGTERM comes in the last of so many steps from now on."""
    stepped, done = Keeper.stepped, count(1)

    def counted(keeper):
        stepped(keeper)
        if next(done) == steps:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "stepped", counted)
        yield
