"""The memory that threads share while they work on pictures, counted in pixels."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """So many pixels may be in work at one time; who wants more waits until others are done.

    Args:
        pixels: at least as many as any one picture has.
    """

    def __init__(self, pixels: int) -> None:
        self._free = pixels
        self._changed = threading.Condition()
        self._thread = threading.local()

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Around one thread's work on one picture: what it takes is given back at the end."""
        self._thread.taken = 0
        try:
            yield
        finally:
            with self._changed:
                self._free += self._thread.taken
                self._changed.notify_all()
            del self._thread.taken

    def take(self, pixels: int) -> None:
        """Waits for room for a picture, except for a second one, which others could wait for as well.

        Outside `sharing` there is nothing to share.
        """
        if not hasattr(self._thread, "taken"):
            return
        with self._changed:
            self._changed.wait_for(lambda: self._thread.taken > 0 or pixels <= self._free)
            self._free -= pixels
        self._thread.taken += pixels
