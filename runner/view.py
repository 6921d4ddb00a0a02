"""Text streams: one that a run may write to without ever failing, and standard output, which says why it fails."""

import os
from contextlib import suppress
from typing import Any, TextIO

from runner.errors import EnvironmentFault
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
        stream, self._stream = self._stream, None
        let_go(stream)


class Output:
    """Standard output of a verb that prints.

    Raises:
        EnvironmentFault: from `write` and `flush`, where it takes no more; a closed pipe stays a BrokenPipeError.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return int(self._tried(self._stream.write, text))

    def flush(self) -> None:
        self._tried(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _tried(self, act: Any, *arguments: str) -> Any:
        try:
            return act(*arguments)
        except BrokenPipeError:
            raise
        except OSError as error:
            let_go(self._stream)
            raise EnvironmentFault(f"the output cannot be written ({error.strerror}): send it elsewhere") from None


def let_go(stream: TextIO | None) -> None:
    """Sends what Python still holds for a stream to nowhere, or its last flush fails at exit."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
        os.close(nowhere)
