"""log.jsonl: one JSON object a line, so that a run that dies leaves every whole line readable."""

import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.outputs.files import faults, write_bytes
from runner.secrets import hidden


def append(path: Path, entry: Mapping[str, Any]) -> None:
    """Add `entry` as one line; a line that finds no room on the disk leaves nothing behind.

    Raises:
        EnvironmentFault: the disk refuses.
    """
    line = _line(entry)
    with faults(path), path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.truncate(before)
            raise


def read(path: Path) -> list[dict[str, Any]]:
    """Every whole line; none where there is no file."""
    if not path.is_file():
        return []
    with faults(path, "read"):
        lines = path.read_bytes().split(b"\n")
    return [entry for entry in map(_entry, lines) if entry is not None]


def trim(path: Path, step: int) -> None:
    """Keep the whole lines up to `step`, and those without one: what came later will be logged again."""
    if path.is_file():
        kept = [entry for entry in read(path) if not isinstance(entry.get("step"), int) or entry["step"] <= step]
        write_bytes(path, b"".join(map(_line, kept)))


def plain(value: object) -> object:
    """`value` for JSON: NaN and infinity, which JSON lacks, as text; paths as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(hidden(plain(entry)), ensure_ascii=False).encode() + b"\n"


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
