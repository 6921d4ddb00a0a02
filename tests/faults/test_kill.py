"""A run that is killed, at whatever moment, goes on by the same command and ends as if nothing had been.

Moments are changes of files, each of them, and random ones. A run that is told to stop loses no step.
"""

import os
import random
import signal
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from tests.conftest import each
from tests.corpus.table import toy
from tests.faults.forks import SIGNAL, TEAR, Strike
from tests.faults.runs import RUN, differing, made, newest, reached, saved

MOMENTS = (  # in the order in which they come
    "rename *001/run.json",
    "write *pictures/*pixels.u8",
    "write *step-000001/*",
    "rename *step-000001",
    "unlinkat *step-000001/*",
    "write *samples/*",
    "rename *step-000002.png",
    "write *log.jsonl",
    "fsync */checkpoints",
    "write *model/*",
    "rename *model",
    "rename *grid.png",
)
INTERVAL = 3
LONGER = toy(
    training={
        **{"max_train_steps": 30, "checkpointing_steps": INTERVAL, "checkpoints_total_limit": 1},  # a stop adds one
        **{"sample_steps": 10, "ema": {"decay": 0.9}},
    },
)


def test_a_run_killed_again_and_again_ends_as_if_it_never_was(forks, place, whole):
    folder = place()
    for where in MOMENTS:
        outcome = forks(folder, *RUN, strike=Strike(TEAR, signal.SIGKILL, where=where))
        assert (outcome.code, where) == (-signal.SIGKILL, where), outcome.text
    assert forks(folder, *RUN).code == 0
    assert differing(newest(folder), whole.made) == []


@pytest.mark.slow
def test_a_run_killed_at_any_change_ends_as_if_it_never_was(forks, place, whole):
    for at, change in enumerate(whole.changes, 1):
        folder = place()
        assert forks(folder, *RUN, strike=Strike(TEAR, signal.SIGKILL, at)).code == -signal.SIGKILL, change
        lost = reached(newest(folder)) - saved(newest(folder))
        outcome = forks(folder, *RUN)
        assert (outcome.code, lost <= 1) == (0, True), (change, outcome.text)
        assert differing(newest(folder), whole.made) == [], change


@pytest.mark.parametrize("number", each([signal.SIGTERM, signal.SIGINT], few=[signal.SIGTERM]))
@pytest.mark.parametrize(
    "where",
    each(
        ["write */pictures/*", "write *step-000002/*", "rename *step-000002.png", "rename *00000.png"],
        few=["write *step-000002/*", "rename *step-000002.png"],
    ),
)
def test_a_run_told_to_stop_loses_no_step(forks, place, whole, number, where):
    folder = place()
    outcome = forks(folder, *RUN, strike=Strike(SIGNAL, number, where=where))
    assert outcome.code == 128 + number, outcome.text
    assert "the same command goes on with outputs/toy/001" in outcome.text
    assert saved(newest(folder)) == reached(newest(folder))
    assert forks(folder, *RUN).code == 0
    assert differing(newest(folder), whole.made) == []


@pytest.fixture(scope="module")
def longer(forks, place):
    """What a longer run makes, uninterrupted, and in how many seconds."""
    folder, begun = place(LONGER), time.monotonic()
    assert forks(folder, *RUN).code == 0
    return SimpleNamespace(made=made(newest(folder)), seconds=time.monotonic() - begun)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "times"),
    [(signal.SIGKILL, 200), (signal.SIGTERM, 50), (signal.SIGINT, 50)],
    ids=["SIGKILL", "SIGTERM", "SIGINT"],
)
def test_random_moments(forks, place, longer, number, times):
    """As many signals as asked for, several to each run, each as late at most as it would be over if it began anew."""
    moments = random.Random(number)
    while times > 0:
        folder = place(LONGER)
        while (outcome := _signalled(forks, folder, number, moments.uniform(0, longer.seconds))).code != 0:
            times -= 1
            assert outcome.code in (-number, 128 + number), outcome.text
            assert "Traceback" not in outcome.text
            lost = reached(newest(folder)) - saved(newest(folder))
            assert lost <= (INTERVAL if number == signal.SIGKILL else 0), outcome.text
        assert differing(newest(folder), longer.made) == []


def _signalled(forks, folder, number, seconds):
    """A command that gets a signal after so many seconds, if it is not over before."""
    pid = forks.start(folder, *RUN)
    timer = threading.Timer(seconds, _send, (pid, number))
    timer.start()
    outcome = forks.end()
    timer.cancel()
    return outcome


def _send(pid, number):
    with suppress(ProcessLookupError):
        os.kill(pid, number)
