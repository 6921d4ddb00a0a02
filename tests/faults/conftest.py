"""A small run, uninterrupted, and what runs it."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

from tests.corpus.table import toy
from tests.faults.forks import Forks, compiled
from tests.faults.runs import RUN, made, newest

RECIPE = toy(
    training={
        **{"max_train_steps": 3, "checkpointing_steps": 1, "checkpoints_total_limit": 1, "sample_steps": 2},
        **{"ema": {"decay": 0.9}},
    }
)


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    """Commands that meet faults."""
    if sys.platform != "linux":
        pytest.skip("faults are brought about by LD_PRELOAD, as Linux has it")
    try:
        library = compiled(tmp_path_factory.mktemp("strike"))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no C compiler for what brings faults about")
    forks = Forks(library)
    yield forks
    forks.close()


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A new working directory with the recipe."""

    def make(recipe=RECIPE):
        folder = tmp_path_factory.mktemp("place")
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        return folder

    return make


@pytest.fixture(scope="session")
def whole(forks, place):
    """The run when nothing befalls it: what it has made, and the changes of files on the way."""
    folder = place()
    log = folder.with_name("changes")
    outcome = forks(folder, *RUN, log=log)
    assert outcome.code == 0, outcome.text
    return SimpleNamespace(made=made(newest(folder)), changes=log.read_text().splitlines())
