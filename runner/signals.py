"""SIGINT and SIGTERM: stop at the next safe place the first time, at once the second. SIGHUP: always the first way."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from runner.errors import Elsewhere, Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_HANGUP = getattr(signal, "SIGHUP", None)  # the terminal is gone; the system and the shell may both say so
_PATIENCE = 2.0  # seconds in which Python should have seen a signal, if it is not inside one long operation


class Stop:
    """Turns the signals into `Interrupted`, a context manager for a whole run.

    Outside `deferred` a signal raises where the run stands. Inside, the first one is only noted: the work calls
    `check` when it is safe to stop.

    Args:
        again: how to go on, the last words of every message.
        quiet: another process speaks.
    """

    def __init__(self, again: str, *, quiet: bool = False) -> None:
        self.again = again
        self.requested: int | None = None
        self._quiet = quiet
        self._defer = self._failed = False
        self._own = False  # whether a signal came to this process itself
        self._raised: Interrupted | None = None  # where the run stood
        self._before: dict[int, Any] = {}
        self._watch = _Watch(quiet)

    def __enter__(self) -> Stop:
        heard = [number for number in (*_SIGNALS, _HANGUP) if number is not None]
        if _HANGUP is not None and signal.getsignal(_HANGUP) is signal.SIG_IGN:
            heard.remove(_HANGUP)  # nohup
        self._before = {number: signal.signal(number, self._caught) for number in heard}
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.end()
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._caught:  # else signals are ignored while several processes end
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """The first signal waits for `check` inside this block; none is raised over what fails there."""
        before, self._defer = self._defer, True
        try:
            yield
        except BaseException:
            self._failed = True
            raise
        finally:
            self._defer = before

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
        self._watch.heard.set()
        first, self._own, self.requested = not self._own, True, signum
        if self._failed or (self._defer and signum == _HANGUP):
            return
        if self._defer and first:
            if self._quiet:
                return
            with suppress(OSError):  # not through the display, which the signal may have interrupted in mid-line
                os.write(2, b"\nstopping at the next safe place; a second signal stops at once, and saves nothing\n")
            return
        try:
            self.check()
        except Interrupted as raised:
            self._raised = raised
            raise

    def behind(self, error: BaseException) -> BaseException:
        """What has ended the run: a signal that was raised in code which makes faults of its own of it, else `error`.

        Imports do, and what torch and numpy call from C.
        """
        return error if self._raised is None or isinstance(error, Interrupted | Elsewhere) else self._raised


class _Watch:
    """Lets a second signal end the process while one long operation keeps Python from seeing the first.

    A signal's number is written to a socket at once, whatever Python does; its handler waits for the operation's end.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self.heard = threading.Event()  # Python's handler ran
        self._over = threading.Event()

    def start(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def end(self) -> None:
        signal.set_wakeup_fd(self._before)
        self._over.set()
        self._writer.close()
        self._thread.join()
        self._reader.close()

    def _listen(self) -> None:
        caught = 0
        while numbers := self._reader.recv(1):
            if numbers[0] not in _SIGNALS:
                continue
            caught += 1
            if caught == 1 and not self.heard.wait(_PATIENCE) and not self._quiet:
                with suppress(OSError):
                    os.write(2, b"\nthe step under way is a long one; a second signal ends the run at once\n")
            elif caught > 1 and not self._over.wait(_PATIENCE):
                os._exit(128 + numbers[0])  # as after a crash: what was written whole is kept
