"""A text stream that a run may write to without ever failing."""

import os
from contextlib import suppress
from typing import TextIO

from runner.secrets import redact


class View:
    """What a person or a program reads: a dead one (closed pipe, lost terminal) swallows the rest."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "ascii"
        self.unicode = self.encoding.lower().replace("-", "").startswith("utf")

    def write(self, text: str) -> int:
        if self._stream is not None:
            try:
                self._stream.write(redact(text).encode(self.encoding, "backslashreplace").decode(self.encoding))
            except (OSError, ValueError):
                self._die()
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._die()

    def isatty(self) -> bool:
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:  # closed
            return False

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError("no stream")
        return self._stream.fileno()

    def _die(self) -> None:
        """Send what Python still holds for the stream to nowhere, or its last flush fails at exit."""
        stream, self._stream = self._stream, None
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
            os.close(nowhere)
