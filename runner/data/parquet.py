"""Parquet files on disk: found, checked, and read row by row in flat memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from runner.errors import DataError
from runner.shown import shown

_MAGIC = b"PAR1"
_ROWS = 32  # decoded at once
_SHARD = re.compile(r"(\w+(?:\.\w+)*)-\d{5}-of-(\d{5})")  # train-00000-of-00004.parquet
_SPLITS = {"train": "train|training", "validation": "validation|valid|val|dev", "test": "test|testing|eval|evaluation"}


def find(path: Path, config: str | None) -> dict[str, list[Path]]:
    """The parquet files that `path` (one file, or a folder of them) holds, by split.

    A single file is the split 'train'. In a folder, a file's split is told by its name or its folder's, as the
    datasets library does it: 'train-00000-of-00002.parquet', 'test.parquet', 'val/0.parquet'; else it is 'train'.
    `config` is a subfolder.

    Raises:
        DataError: nothing there, no parquet file in it, or some missing of 'train-00000-of-00002'.
    """
    if path.is_file():
        return {"train": [path]}
    if not path.exists():
        raise DataError(f"{shown(path, 1000)} is not there: correct data.id")
    if not path.is_dir():
        raise DataError(f"{shown(path, 1000)} is neither a file nor a folder: correct data.id")
    folder = path / config if config is not None else path
    if not folder.is_dir():
        raise DataError(f"{shown(path, 1000)} has no subfolder '{shown(config)}': correct data.config")
    splits: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.parquet")):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if not hidden and file.is_file():
            splits.setdefault(_split_of(file, folder), []).append(file)
    if not splits:
        raise DataError(
            f"{shown(folder, 1000)} has no parquet file in it: for a folder of pictures set data.type to folder"
        )
    return splits


def check(path: Path) -> str | None:
    """What is wrong with the parquet file `path`, as words that follow its name; None if its two ends are right."""
    try:
        with path.open("rb") as file:
            return check_ends(file)
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def check_ends(file: BinaryIO) -> str | None:
    """As `check`, for an open file that can seek."""
    head = file.read(64)
    size = file.seek(0, 2)
    file.seek(max(0, size - 4))
    tail = file.read(4)
    if not head:
        return "is empty (0 bytes)"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself (git lfs pull fetches it)"
    if not head.startswith(_MAGIC):
        return f"is not a parquet file (it starts with {shown(head[:12])})"
    if tail != _MAGIC or size < 12:
        return f"is cut short (it ends after {size} bytes without parquet's footer)"
    return None


def missing_shards(files: Iterable[Path]) -> int:
    """How many files are missing of those that names like 'train-00000-of-00004' count."""
    shards = [shard for shard in (_SHARD.fullmatch(file.stem) for file in files) if shard is not None]
    expected = {(shard[1], shard[2]): int(shard[2]) for shard in shards}
    return sum(expected.values()) - len(shards)


class ParquetRows:
    """The rows of parquet files, one after the other.

    Attributes:
        schema: the arrow schema of the first file.
        count: the number of rows.
        seekable: see `Rows`.

    Raises:
        DataError: a file that is no parquet file, is damaged, or has other columns than the first.
    """

    seekable = True

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)
        self._counts: list[int] = []
        for file in self._files:
            problem = check(file)
            if problem is not None:
                raise DataError(f"{shown(file, 1000)} {problem}: delete it and download it again")
            with _opened(file) as parquet:
                self._counts.append(parquet.metadata.num_rows)
                schema = parquet.schema_arrow
            if file == self._files[0]:
                self.schema = schema
            elif set(schema.names) != set(self.schema.names):
                raise DataError(
                    f"{shown(file, 1000)} has the columns {shown(', '.join(schema.names))}, and "
                    f"{shown(self._files[0].name)} has {shown(', '.join(self.schema.names))}: "
                    "name one of them, or set data.split or data.config"
                )
        self.count = sum(self._counts)

    def rows(self, columns: list[str], start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """Rows `start` to `stop` as dictionaries of these columns."""
        stop = self.count if stop is None else stop
        for file, count in zip(self._files, self._counts, strict=True):
            if stop > 0 and start < count:
                with _opened(file) as parquet:
                    yield from _rows(parquet, columns, start, stop)
            start, stop = start - count, stop - count


@contextmanager
def _opened(file: Path) -> Iterator[pq.ParquetFile]:
    try:
        with file.open("rb") as opened:  # a file, not its name: pyarrow would read some names as addresses
            yield pq.ParquetFile(opened)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{shown(file, 1000)} is damaged ({shown(error, 100)}): delete it and download it again"
        ) from error


def _rows(parquet: pq.ParquetFile, columns: list[str], start: int, stop: int) -> Iterator[dict[str, Any]]:
    """Rows `start` to `stop` of a file; no row group that holds none of them is read."""
    for group in range(parquet.num_row_groups):
        size = parquet.metadata.row_group(group).num_rows
        if stop > 0 and start < size:
            at = 0
            for batch in parquet.iter_batches(_ROWS, row_groups=[group], columns=columns):
                wanted = slice(max(0, start - at), max(0, stop - at))
                yield from batch[wanted].to_pylist()
                at += len(batch)
                if at >= stop:
                    break
        start, stop = start - size, stop - size


def _split_of(file: Path, folder: Path) -> str:
    shard = _SHARD.fullmatch(file.stem)
    if shard is not None:
        return shard[1]
    for part in reversed(file.relative_to(folder).with_suffix("").parts):
        for split, words in _SPLITS.items():
            if re.search(rf"(?:^|[-._ 0-9])(?:{words})(?:$|[-._ 0-9])", part):
                return split
    return "train"
