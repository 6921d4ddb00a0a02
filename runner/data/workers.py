"""Work on many pictures at once, with the results in order."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from runner.data import decode
from runner.processes.started import started

T = TypeVar("T")
R = TypeVar("R")

SOON = 3.0  # seconds in which several processes tell each other how far they are, and hear of signals

_AHEAD = 4  # entries in flight per thread: enough to keep all busy, few enough to keep memory flat


def in_order(work: Callable[[T], R], things: Iterable[T], *, by_all: bool = False) -> Iterator[R]:
    """`work(thing)` for each of `things`, in their order, computed in threads: pillow lets go of Python's lock.

    `things` is read only a little ahead, and what the threads decode shares `decode.ROOM`. An exception of `work` or of
    `things` ends the iteration.

    Args:
        by_all: the processes that a launcher started on this machine all do this now, and share its cores.
    """
    beside = started() if by_all else None
    threads = max(1, min(32, (os.cpu_count() or 1) // (beside.local if beside else 1)))
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="pictures") as pool:
        try:
            for thing in things:
                pending.append(pool.submit(_sparing, work, thing))
                if len(pending) >= _AHEAD * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def together(things: Iterable[T], most: int) -> Iterator[list[T]]:
    """The things in lists of `most`, or fewer where they come slowly."""
    some: list[T] = []
    since = time.monotonic()
    for thing in things:
        some.append(thing)
        if len(some) == most or time.monotonic() - since > SOON:
            yield some
            some, since = [], time.monotonic()
    if some:
        yield some


def _sparing(work: Callable[[T], R], thing: T) -> R:
    with decode.ROOM.sharing():
        return work(thing)
