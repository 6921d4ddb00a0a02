"""`data.type: hub`: a data set of the Hugging Face hub, or parquet files on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa
from datasets import Features
from datasets.utils.file_utils import xopen

from runner.data import parquet
from runner.data.parquet import ParquetRows
from runner.data.repository import Repository, StreamRows, commit
from runner.data.source import Entry, Place, Source
from runner.data.table import Rows, Table
from runner.errors import DataError
from runner.hub.ids import is_hub_id
from runner.shown import shown

if TYPE_CHECKING:
    from runner.progress import Progress

__all__ = ["Hub", "OnDisk", "Streamed", "commit", "open_hub"]


def open_hub(
    *,
    id: str,
    config: str | None,
    split: str,
    revision: str | None,
    image_column: str | None,
    caption_column: str | None,
    label_column: str | None,
    streaming: bool,
    offline: bool,
) -> Source:
    """The source for a `data` section of type hub; an absolute path as `id` means parquet files on disk.

    Raises:
        DataError: what is there cannot be used; the sentence says which files, splits or columns there are.
        ModelError, EnvironmentFault, Refused: see `Repository`.
    """
    asked = (image_column, caption_column, label_column)
    if Path(id).is_absolute():
        return OnDisk(Path(id), config, split, asked)
    if not is_hub_id(id):
        raise DataError(f"'{shown(id)}' is neither there as a path nor an id of the hub (owner/name): correct data.id")
    repository = Repository(id=id, config=config, revision=revision, offline=offline)
    return (Streamed if streaming and not repository.local else Hub)(repository, split, asked)


class _Parquet(ParquetRows):
    @property
    def features(self) -> Mapping[str, Any]:
        return dict(Features.from_arrow_schema(self.schema))


class OnDisk(Table):
    """Parquet files on this machine."""

    def __init__(self, path: Path, config: str | None, split: str, asked: tuple[str | None, str | None, str | None]):
        self._files = parquet.find(path, config)
        self._tables: dict[str, _Parquet] = {}
        super().__init__(split, self._files, asked)
        root = path if path.is_dir() else path.parent
        files = [
            (file.relative_to(root).as_posix(), file.stat().st_size, file.stat().st_mtime_ns)
            for name in self._wanted
            for file in self._files[name]
        ]
        self.fingerprint = _digest(files, split, self._image, self._text, self._label)

    def _rows(self, split: str) -> Rows:
        if split not in self._tables:
            self._tables[split] = _Parquet(self._files[split])
        return self._tables[split]


class Hub(Table):
    """A data set of the hub: listed over the network, downloaded by `fetch`."""

    def __init__(self, repository: Repository, split: str, asked: tuple[str | None, str | None, str | None]) -> None:
        self._repository = repository
        self._tables: dict[str, Rows] = {}
        with self._reading():
            super().__init__(split, repository.splits, asked)
        known = (repository.id, repository.builder.config.name, repository.commit)
        self.fingerprint = _digest(known, split, self._image, self._text, self._label)

    def fetch(self, progress: Progress) -> None:
        """Download the files of the splits."""
        here = self._repository.download(self._wanted, progress)
        parquet_files = here if self._repository.kind == "parquet" else {}
        self._tables = {name: _Parquet(files) for name, files in parquet_files.items()}

    def _all_rows(
        self, names: list[str], start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[str, int, dict[str, Any]]]:
        with self._reading():
            yield from super()._all_rows(names, start, stop)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._repository.reading():
            try:
                yield
            except pa.ArrowInvalid:
                self._repository.name_damage(self._wanted)
                raise

    def _rows(self, split: str) -> Rows:
        if split not in self._tables:
            self._tables[split] = self._repository.stream(split)
        return self._tables[split]

    def _open(self, path: str) -> BinaryIO:
        if self._repository.kind != "imagefolder":
            return super()._open(path)
        self._repository.require_own(path)
        with self._repository.reading():
            return cast(BinaryIO, xopen(path, "rb"))


class Streamed(Hub):
    """A data set of the hub that is read as it comes: its files are not kept.

    No file is read twice: whole splits are shared out file by file, and where only some rows are wanted, one process
    reads them. Where a row only names its picture's file, the rows cost little, and each process opens its own files.
    """

    def fetch(self, progress: Progress) -> None:
        """Nothing is downloaded beforehand."""

    def part(self, rank: int, count: int, limit: int | None) -> Iterator[tuple[Place, Entry]]:
        """See `Source.part`."""
        files = self._files() if limit is None else []
        return self._read(islice(enumerate(files), rank, None, count)) if files else super().part(rank, count, limit)

    def __iter__(self) -> Iterator[Entry]:
        files = self._files()
        return (entry for _, entry in self._read(enumerate(files))) if files else super().__iter__()

    def _files(self) -> list[tuple[str, int]]:
        """Split and number of each file that is read by itself; none where only some of their rows are wanted."""
        if "[" in self._split or not self.streamed:
            return []
        with self._reading():
            return [(split, i) for split, _, _ in self._parts() for i in range(self._stream(split).shards)]

    def _read(self, files: Iterator[tuple[int, tuple[str, int]]]) -> Iterator[tuple[Place, Entry]]:
        columns = self._columns()
        with self._reading():
            for shard, (split, file) in files:
                for number, row in enumerate(self._stream(split).rows_of(file, columns)):
                    yield Place(shard, number), self._entry(f"{split}/{file}:{number}", row)

    @property
    def streamed(self) -> bool:  # type: ignore[override]  # read-only here
        """Whether the pictures come with the rows."""
        return self._repository.kind != "imagefolder"

    def _stream(self, split: str) -> StreamRows:
        return cast(StreamRows, self._rows(split))


def _digest(*known: Any) -> str:
    return sha256(json.dumps(known).encode("ascii")).hexdigest()
