"""`data.type: hub`: a data set of the Hugging Face hub, or parquet files on disk."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

import pyarrow as pa
from datasets import ClassLabel, Features
from datasets.utils.file_utils import xopen
from PIL import Image

from runner.data import columns, parquet, splits
from runner.data.decode import BadPicture, open_picture
from runner.data.parquet import ParquetRows
from runner.data.repository import Repository, commit
from runner.data.source import Entry, Item, Source
from runner.errors import DataError
from runner.hub.ids import is_hub_id
from runner.shown import shown

if TYPE_CHECKING:
    from runner.progress import Progress

__all__ = ["Hub", "OnDisk", "commit", "open_hub"]

_MOST_CLASSES = 10_000  # a column with more values is no column of classes
_LARGEST = 2**30  # bytes of one file in a stream: an archive may unpack to anything


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
    return Hub(Repository(id=id, config=config, revision=revision, offline=offline), split, asked, streaming)


class _Rows(Protocol):
    @property
    def count(self) -> int | None: ...

    @property
    def features(self) -> Mapping[str, Any]: ...

    def rows(self, columns: list[str]) -> Iterator[dict[str, Any]]: ...


class _Table(Source):
    """Rows of splits as pictures: subclasses say where the rows of a split are.

    The first split's columns are those of all.
    """

    def __init__(self, split: str, available: Iterable[str], asked: tuple[str | None, str | None, str | None]) -> None:
        self._split = split
        self._wanted = splits.names(split, available)
        self._features = features = self._rows(self._wanted[0]).features
        self._image = columns.image_column(features, asked[0])
        self._text = columns.caption_column(features, asked[1])
        self._label = columns.label_column(features, asked[2])

    def _rows(self, split: str) -> _Rows:
        raise NotImplementedError

    def _open(self, path: str) -> BinaryIO:
        """The file of a picture that a row only names."""
        raise BadPicture(f"is only named in its row ({shown(path, 80)}), not held there")

    @property
    def count(self) -> int | None:  # type: ignore[override]
        """How many rows the splits and slices have, if that is known before reading."""
        counts = self._counts()
        if None in counts.values():
            return None
        return sum(part.stop - part.start for part in splits.parse(self._split, counts) if part.stop is not None)

    @cached_property
    def classes(self) -> list[str]:  # type: ignore[override]
        """The names of a ClassLabel column, or the sorted values of another one (which reads that column once)."""
        return list(self._classes.values())

    @cached_property
    def _classes(self) -> dict[Any, str]:
        """Value in the label column -> class name, in the order of the classes."""
        if self._label is None:
            return {}
        feature = self._features[self._label]
        if isinstance(feature, ClassLabel):
            return dict(enumerate(feature.names))
        values: set[Any] = set()
        for _, _, row in self._all_rows([self._label]):
            values.add(row[self._label])
            if len(values) > _MOST_CLASSES:
                raise DataError(f"data.label_column '{shown(self._label)}' has over {_MOST_CLASSES} values: no classes")
        return {value: str(value) for value in sorted(values - {None})}

    def __iter__(self) -> Iterator[Entry]:
        wanted = [name for name in (self._image, self._text, self._label) if name is not None]
        numbers = {value: number for number, value in enumerate(self._classes)}
        for split, number, row in self._all_rows(wanted):
            picture = row[self._image]
            data, path = (picture.get("bytes"), picture.get("path")) if isinstance(picture, dict) else (picture, None)
            caption = row[self._text] if self._text is not None else None
            label = numbers.get(row[self._label]) if self._label is not None else None
            name = f"{split}/{number}" + (f" {path.rsplit('/', 1)[-1]}" if path else "")
            item = Item(name, (caption or "").strip() or None, label)
            yield Entry(item, partial(self._load, data, path))

    def _load(self, data: bytes | None, path: str | None) -> Image.Image:
        if data is not None:
            return open_picture(io.BytesIO(data))
        if path is None:
            raise BadPicture("is missing: its row holds nothing")
        with self._open(path) as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise BadPicture("is a file of over 1 GiB")
        return open_picture(io.BytesIO(data))

    def _all_rows(self, names: list[str]) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Split, number in the split, and row, for all that the split and its slices choose."""
        for part in splits.parse(self._split, self._counts()):
            chosen = islice(self._rows(part.split).rows(names), part.start, part.stop)
            for number, row in enumerate(chosen, part.start):
                yield part.split, number, row

    def _counts(self) -> dict[str, int | None]:
        return {name: self._rows(name).count for name in self._wanted}


class _Parquet(ParquetRows):
    @property
    def features(self) -> Mapping[str, Any]:
        return dict(Features.from_arrow_schema(self.schema))


class OnDisk(_Table):
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

    def _rows(self, split: str) -> _Rows:
        if split not in self._tables:
            self._tables[split] = _Parquet(self._files[split])
        return self._tables[split]


class Hub(_Table):
    """A data set of the hub: listed over the network, downloaded by `fetch` unless it is streamed."""

    def __init__(
        self, repository: Repository, split: str, asked: tuple[str | None, str | None, str | None], streaming: bool
    ) -> None:
        self._repository = repository
        self._streaming = streaming
        self._tables: dict[str, _Rows] = {}
        with self._reading():
            super().__init__(split, repository.splits, asked)
        known = (repository.id, repository.builder.config.name, repository.commit)
        self.fingerprint = _digest(known, split, self._image, self._text, self._label)

    def fetch(self, progress: Progress) -> None:
        """Download the files of the splits, unless they are streamed."""
        if self._streaming and not self._repository.local:
            return
        here = self._repository.download(self._wanted, progress)
        parquet_files = here if self._repository.kind == "parquet" else {}
        self._tables = {name: _Parquet(files) for name, files in parquet_files.items()}

    def _all_rows(self, names: list[str]) -> Iterator[tuple[str, int, dict[str, Any]]]:
        with self._reading():
            yield from super()._all_rows(names)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._repository.reading():
            try:
                yield
            except pa.ArrowInvalid:
                self._repository.name_damage(self._wanted)
                raise

    def _rows(self, split: str) -> _Rows:
        if split not in self._tables:
            self._tables[split] = self._repository.stream(split)
        return self._tables[split]

    def _open(self, path: str) -> BinaryIO:
        if self._repository.kind != "imagefolder":
            return super()._open(path)
        self._repository.require_own(path)
        with self._repository.reading():
            return cast(BinaryIO, xopen(path, "rb"))


def _digest(*known: Any) -> str:
    return sha256(json.dumps(known).encode("ascii")).hexdigest()
