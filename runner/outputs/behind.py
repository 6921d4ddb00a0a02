"""Files written by a thread, in order, while their maker goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

_WAITING = 32  # pictures of 1024 pixels squared: 100 MiB

Write = Callable[..., None]


@contextmanager
def behind() -> Iterator[Write]:
    """A function `write(function, *arguments)` that returns at once; all is done when the block ends, however it ends.

    Raises:
        Whatever a function raised, at the next call or at the end. Those that were waiting are done all the same.
    """
    waiting: deque[Future[Any]] = deque()

    def write(function: Callable[..., Any], *arguments: Any) -> None:
        waiting.append(thread.submit(function, *arguments))
        while waiting and (waiting[0].done() or len(waiting) > _WAITING):
            waiting.popleft().result()

    with ThreadPoolExecutor(1) as thread:
        yield write
        for one in waiting:
            one.result()
