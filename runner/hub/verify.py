"""What the hub's cache holds, compared with the sha256 that its blobs are named by: once in a process."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from runner.shown import shown

if TYPE_CHECKING:
    from runner.progress import Progress

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 2**22

_whole: set[tuple[str, int, int]] = set()
"""The files that were found whole, each with its size and time."""


def wanted_sha256(path: Path) -> str | None:
    """The sha256 that a file of the cache should have: its blob's name; None where git names it otherwise."""
    name = path.resolve().name
    return name if _SHA256.fullmatch(name) else None


def note_whole(path: Path) -> None:
    """Remember that this file was checked."""
    _whole.add(_now(path))


def damaged(id: str, files: Mapping[Path, str], progress: Progress) -> list[Path]:
    """Those of the files whose bytes are not of their sha256, with one bar of bytes for all that must be read.

    Args:
        id: the model, for the bar.
        files: path -> sha256.

    Raises:
        OSError: one cannot be read.
    """
    unknown = {path: digest for path, digest in files.items() if _now(path) not in _whole}
    found: list[Path] = []
    if not unknown:
        return found
    total = sum(path.stat().st_size for path in unknown)
    with progress.bar(f"Checking {shown(id)}", total, unit="byte") as bar:
        for path, digest in unknown.items():
            whole = sha256()
            for chunk in _chunks(path):
                whole.update(chunk)
                bar.advance(len(chunk))
            if whole.hexdigest() == digest:
                note_whole(path)
            else:
                found.append(path)
    return found


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _now(path: Path) -> tuple[str, int, int]:
    real = path.resolve()
    stat = real.stat()
    return str(real), stat.st_size, stat.st_mtime_ns
