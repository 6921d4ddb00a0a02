"""Damaged checkpoints are found and named, and none is loaded; a disk that fails costs nothing that was saved."""

import errno
import re
from contextlib import contextmanager

import pytest

from runner.training import checkpoints
from tests.corpus.table import recipe, run, toy
from tests.faults.forks import ON, ONCE, Strike
from tests.faults.runs import RUN, differing, newest, saved, stopped_after

THREE = toy(training={"max_train_steps": 3, "checkpointing_steps": 1, "checkpoints_total_limit": 2, "ema": {}})
FILES = ("parameters.safetensors", "optimizer.safetensors", "ema.safetensors", "state.json", "manifest.json")


def damages(data):
    """Versions of a file: a bit flipped at either end and at some places between; the tail cut."""
    for at in sorted({*range(0, len(data), len(data) // 16), len(data) - 1}):
        yield f"bit {at % 8} of byte {at} flipped", data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
    for size in (0, len(data) // 2, len(data) - 1):
        yield f"cut to {size} bytes", data[:size]


@contextmanager
def holding(file, data):
    """The file holds other bytes inside."""
    before = file.read_bytes()
    file.write_bytes(data)
    yield
    file.write_bytes(before)


@pytest.fixture
def stopped(here):
    """The folder of a run that was stopped after its second checkpoint."""
    with stopped_after(2):
        assert run(THREE, "--quiet").code == 143
    return newest(here)


def test_damage_is_named_and_the_older_one_taken(stopped):
    folder = stopped / "checkpoints"
    assert {path.name for path in (folder / "step-000002").iterdir()} == set(FILES)
    for name in FILES:
        file = folder / "step-000002" / name
        for what, data in damages(file.read_bytes()):
            with holding(file, data):
                found, (sentence,) = checkpoints.newest(folder)
                assert found.step == 1, (name, what)
                assert "step-000002 is damaged" in sentence and (name in sentence or name == "manifest.json")
    assert checkpoints.newest(folder)[1] == []


def test_a_run_says_which_is_damaged_and_goes_on_from_the_older_one(stopped):
    file = stopped / "checkpoints" / "step-000002" / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    outcome = recipe("run", "recipe.yaml")
    assert outcome.code == 0
    assert "step-000002 is damaged: the sha256 of optimizer.safetensors differs" in outcome.text
    assert "going on from step 1 of 3" in outcome.text


def test_a_run_whose_every_checkpoint_is_damaged_ends_and_is_left_as_it_is(stopped):
    for file in stopped.glob("checkpoints/*/state.json"):
        file.write_bytes(b"{}")
    before = sorted(stopped.rglob("*"))
    outcome = recipe("run", "recipe.yaml")
    assert outcome.code == 7
    assert "no whole one is left: start anew with --fresh" in outcome.text
    assert sorted(stopped.rglob("*")) == before


def met(forks, place, whole, strike):
    """A run meets this, and ends with a sentence; what it had saved is whole, and the same command goes on with it."""
    folder = place()
    outcome = forks(folder, *RUN, strike=strike)
    assert "Traceback" not in outcome.text and "bug" not in outcome.text, (strike, outcome.text)
    assert outcome.code in (0, 5), (strike, outcome.text)
    kept = saved(newest(folder)) if (folder / "outputs/toy/latest").exists() else 0
    again = forks(folder, *RUN)
    assert again.code == 0, (strike, again.text)
    assert differing(newest(folder), whole.made) == [], (strike, outcome.text)
    return outcome, kept


@pytest.mark.parametrize(
    ("how", "where", "kept"),
    [(ON, "write *step-000002/*", 1), (ONCE, "rename *step-000002", 1), (ONCE, "rename *model", 3)],
    ids=["checkpoint, from then on", "checkpoint, once", "model, once"],
)
def test_a_full_disk_ends_the_run_with_what_was_saved(forks, place, whole, how, where, kept):
    outcome, found = met(forks, place, whole, Strike(how, errno.ENOSPC, where=where))
    assert (outcome.code, found) == (5, kept)
    assert re.search("No space left|disk is full", outcome.text)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "number"), [(ON, errno.ENOSPC), (ONCE, errno.EIO)], ids=["full", "broken for once"])
def test_a_disk_that_fails_at_any_change(forks, place, whole, how, number):
    for at in range(1, len(whole.changes) + 1):
        met(forks, place, whole, Strike(how, number, at))
