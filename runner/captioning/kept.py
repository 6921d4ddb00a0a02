"""What was written before: captions by the digest of a picture's pixels, and which picture has which digest."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from runner.data.source import Place
from runner.outputs.files import faults, write_bytes

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Kept:
    """Captions in one file that only grows, a JSON line per picture; a line that was torn or spoilt counts as absent.

    Raises:
        EnvironmentFault: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._captions: dict[str, str] = {}
        self._torn = False
        if path.is_file():
            with faults(path, "read"):
                *lines, rest = path.read_bytes().split(b"\n")
            self._torn = rest != b""
            self._captions.update(found for found in map(_line, lines) if found is not None)

    def __contains__(self, digest: object) -> bool:
        return digest in self._captions

    def __getitem__(self, digest: str) -> str:
        """The caption of the picture with this digest, '' where the model had none."""
        return self._captions[digest]

    def add(self, captions: Iterable[tuple[str, str]]) -> None:
        """Keep (digest, caption) pairs: all of them are on the disk when this returns.

        Raises:
            EnvironmentFault: the disk refuses; nothing of them stays then.
        """
        new = dict(captions)
        lines = [json.dumps({"sha256": digest, "text": text}).encode("ascii") for digest, text in new.items()]
        data = b"\n" * self._torn + b"".join(line + b"\n" for line in lines)
        with faults(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab", buffering=0) as file:
                before = file.tell()
                try:
                    if file.write(data) != len(data):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(before)
                    raise
        self._torn = False
        self._captions |= new


class Seen(NamedTuple):
    """A picture that was looked at.

    Attributes:
        caption: that of its source.
        digest: of its pixels; None for one that is not to be captioned or cannot be used.
        reason: why it cannot be used; '' where it can.
    """

    place: Place
    name: str
    caption: str | None
    digest: str | None
    reason: str = ""


class Looked:
    """The pictures of a source.

    Attributes:
        seen: all of them, in its order.
    """

    def __init__(self, seen: Iterable[Seen] = ()) -> None:
        self.seen = sorted(seen, key=lambda one: one.place)

    @classmethod
    def read(cls, path: Path) -> Looked | None:
        """What `write` kept at `path`; None where there is nothing or it is damaged."""
        try:
            rows = json.loads(path.read_bytes())
            return cls(_seen(*row) for row in rows)
        except (OSError, ValueError, TypeError):
            return None

    @property
    def broken(self) -> list[tuple[str, str]]:
        """Name and reason of those that cannot be used."""
        return [(one.name, one.reason) for one in self.seen if one.reason]

    def captioned_in(self, kept: Kept) -> bool:
        """Whether all that is to be captioned has been."""
        return all(one.digest is None or one.digest in kept for one in self.seen)

    def captions(self, kept: Kept) -> dict[Place, str | None]:
        """The captions by the pictures' places; None where the model had no words."""
        return {one.place: kept[one.digest] or None for one in self.seen if one.digest is not None}

    def write(self, path: Path) -> None:
        """Keep it whole or not at all.

        Raises:
            EnvironmentFault: the disk refuses.
        """
        with faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, json.dumps(self.seen).encode("ascii"))


def _line(line: bytes) -> tuple[str, str] | None:
    try:
        match json.loads(line):
            case {"sha256": digest, "text": str(text)} if _is_digest(digest):
                return digest, text
    except (ValueError, RecursionError):
        pass
    return None


def _seen(place: Any, name: Any, caption: Any, digest: Any, reason: Any) -> Seen:
    shard, row = place
    texts = isinstance(name, str) and isinstance(caption, str | None) and isinstance(reason, str)
    if not (texts and isinstance(shard, int) and isinstance(row, int) and (digest is None or _is_digest(digest))):
        raise ValueError(name)
    return Seen(Place(shard, row), name, caption, digest, reason)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None
