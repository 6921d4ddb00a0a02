"""What was written before: captions by the digest of a picture's pixels, and which picture has which digest."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


@dataclass
class Looked:
    """What the pictures of a source are, in its order.

    Attributes:
        digests: of each picture; None for one that is not to be captioned or cannot be used.
        broken: (name, reason) of those that cannot be used.
    """

    digests: list[str | None] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Looked | None:
        """What `write` kept at `path`; None where there is nothing or it is damaged."""
        try:
            found = json.loads(path.read_bytes())
            digests, broken = found["digests"], [(str(name), str(reason)) for name, reason in found["broken"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        good = isinstance(digests, list) and all(digest is None or _is_digest(digest) for digest in digests)
        return cls(digests, broken) if good else None

    def captioned_in(self, kept: Kept) -> bool:
        """Whether all that is to be captioned has been."""
        return all(digest is None or digest in kept for digest in self.digests)

    def captions(self, kept: Kept) -> dict[int, str | None]:
        """The captions by the pictures' numbers; None where the model had no words."""
        return {i: kept[digest] or None for i, digest in enumerate(self.digests) if digest is not None}

    def write(self, path: Path) -> None:
        """Keep it whole or not at all.

        Raises:
            EnvironmentFault: the disk refuses.
        """
        with faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, json.dumps({"digests": self.digests, "broken": self.broken}).encode("ascii"))


def _line(line: bytes) -> tuple[str, str] | None:
    try:
        match json.loads(line):
            case {"sha256": digest, "text": str(text)} if _is_digest(digest):
                return digest, text
    except (ValueError, RecursionError):
        pass
    return None


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None
