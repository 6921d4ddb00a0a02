"""SIGINT and SIGTERM: stop at the next safe place the first time, at once the second."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from runner.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Turns the two signals into `Interrupted`, a context manager for a whole run.

    Outside `deferred` a signal raises where the run stands. Inside, the first one is only noted: the work calls
    `check` when it is safe to stop.

    Args:
        again: how to go on, the last words of every message.
    """

    def __init__(self, again: str) -> None:
        self.again = again
        self.requested: int | None = None
        self._defer = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        self._before = {number: signal.signal(number, self._caught) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """The first signal waits for `check` inside this block."""
        self._defer = True
        try:
            yield
        finally:
            self._defer = False

    def check(self, where: str = "") -> None:
        """Raises the signal that was noted, if there was one.

        Args:
            where: what was reached and saved, such as 'at step 500 of 1000'.

        Raises:
            Interrupted: with the signal's exit code.
        """
        if self.requested is not None:
            raise Interrupted(" ".join(filter(None, ["stopped", where])) + f": {self.again}", self.requested)

    def _caught(self, signum: int, _frame: FrameType | None) -> None:
        first, self.requested = self.requested is None, signum
        if self._defer and first:
            with suppress(OSError):  # not through the display, which the signal may have interrupted in mid-line
                os.write(2, b"\nstopping after this step; a second signal stops at once, without saving it\n")
            return
        self.check()
