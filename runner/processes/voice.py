"""When one of several processes fails, all end: one of them says why, all with the same exit code."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch.distributed as dist

from runner.errors import Diverged, Elsewhere, EnvironmentFault, Interrupted, RecipeError
from runner.processes.started import speak, started
from runner.processes.world import World

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_GONE = ("gloo", "Connection closed by peer", "Connection reset by peer", "NCCL")  # in words of torch.distributed


_OF_ALL = (Interrupted, Diverged)  # met by all at the same step: the main process says it
_TURN = timedelta(seconds=5)  # that it has for it


@contextmanager
def one_voice(world: World, again: str = "run the same command again to go on") -> Iterator[None]:
    """What fails inside is said by the process that was the first to fail.

    Args:
        world: the processes.
        again: how to go on after a process was killed.

    Raises:
        Elsewhere: another process has failed before, and says why.
        Interrupted: a signal is behind what failed.
        EnvironmentFault: another process is gone without a word.
    """
    try:
        yield
    except BaseException as caught:
        error = world.stop.behind(caught)
        if world.count > 1 and not isinstance(error, Elsewhere):
            error = _said_once(world, error, again)
        if error is caught:
            raise
        raise error from caught


def _said_once(world: World, error: BaseException, again: str) -> BaseException:
    """What this process ends with, after it was settled which of them speaks."""
    for number in _ENDING:  # the launcher ends the others as soon as one has failed: they are ending already
        signal.signal(number, signal.SIG_IGN)
    own = _lost(error, again) or error
    first, code, sentence = _first(world, own)
    if first != world.rank:
        return Elsewhere(sentence, code)
    speak()
    return own


def _first(world: World, error: BaseException) -> tuple[int, int, str]:
    """Rank, exit code and sentence of the process that was the first to fail."""
    own = (world.rank, _code(error), str(error))
    try:
        if not world.main and isinstance(error, _OF_ALL):
            with suppress(dist.DistStoreError):
                world.store.wait(["failed"], _TURN)
        rank, code, sentence = json.loads(world.store.compare_set("failed", "", json.dumps(own)))
    except (RuntimeError, ValueError):  # the process that held the store is the one that is gone: the main one
        return (0, *own[1:]) if isinstance(error, EnvironmentFault) else (world.rank, *own[1:])
    return int(rank), int(code), str(sentence)


def _code(error: BaseException) -> int:
    """The exit code of the command that ends with this."""
    known = getattr(error, "exit_code", None)
    if known is not None:
        return int(known)
    return 130 if isinstance(error, KeyboardInterrupt) else 5 if isinstance(error, MemoryError) else 70


def _lost(error: BaseException, again: str) -> RecipeError | None:
    """The sentence for a process that others have left, None for another fault."""
    gone = isinstance(error, dist.DistError)
    gone = gone or (isinstance(error, RuntimeError) and any(word in str(error) for word in _GONE))
    if not gone:
        return None
    beside = started()
    if beside is not None and beside.restarts < beside.most_restarts:
        again = "the launcher begins it again by itself"
    return EnvironmentFault(
        f"another process of this run is gone without a word (killed, or the machine is out of memory): {again}"
    )
