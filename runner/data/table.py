"""Rows of splits as pictures, wherever they lie."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from datasets import ClassLabel
from PIL import Image

from runner.data import columns, splits
from runner.data.decode import BadPicture, open_picture
from runner.data.source import Entry, Item, Place, Source
from runner.errors import DataError
from runner.shown import shown

if TYPE_CHECKING:
    from runner.processes.world import World

_MOST_CLASSES = 10_000  # a column with more values is no column of classes
_LARGEST = 2**30  # bytes of one file in a stream: an archive may unpack to anything


class Rows(Protocol):
    """The rows of a split; `seekable` where those in the middle are read without those before."""

    seekable: bool

    @property
    def count(self) -> int | None: ...

    @property
    def features(self) -> Mapping[str, Any]: ...

    def rows(self, columns: list[str], start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]: ...


class Table(Source):
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

    def _rows(self, split: str) -> Rows:
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

    def agree(self, world: World) -> None:
        """See `Source.agree`: the classes, where the values of a column are to be read for them."""
        self._classes = world.tell(self._classes if world.main else {})

    def part(self, rank: int, count: int, limit: int | None) -> Iterator[tuple[Place, Entry]]:
        """See `Source.part`; rows that lie together, where those in the middle can be read by themselves."""
        total = self.first(limit)
        if total is None or not all(self._rows(name).seekable for name in self._wanted):
            yield from super().part(rank, count, limit)
            return
        start, stop = rank * total // count, (rank + 1) * total // count
        for row, entry in enumerate(self._entries(start, stop), start):
            yield Place(0, row), entry

    def __iter__(self) -> Iterator[Entry]:
        return self._entries(0, None)

    def _entries(self, start: int, stop: int | None) -> Iterator[Entry]:
        for split, number, row in self._all_rows(self._columns(), start, stop):
            yield self._entry(f"{split}/{number}", row)

    def _columns(self) -> list[str]:
        return [name for name in (self._image, self._text, self._label) if name is not None]

    def _entry(self, name: str, row: Mapping[str, Any]) -> Entry:
        picture = row[self._image]
        data, path = (picture.get("bytes"), picture.get("path")) if isinstance(picture, dict) else (picture, None)
        caption = row[self._text] if self._text is not None else None
        label = self._numbers.get(row[self._label]) if self._label is not None else None
        if path:
            name += f" {path.rsplit('/', 1)[-1]}"
        item = Item(name, (caption or "").strip() or None, label)
        return Entry(item, partial(self._load, data, path))

    @cached_property
    def _numbers(self) -> dict[Any, int]:
        """Value in the label column -> number of the class."""
        return {value: number for number, value in enumerate(self._classes)}

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

    def _all_rows(
        self, names: list[str], start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Split, number in the split, and row: of all that is chosen, those from `start` to `stop`."""
        for split, first, last in splits.between(self._parts(), start, stop):
            for number, row in enumerate(self._rows(split).rows(names, first, last), first):
                yield split, number, row

    def _parts(self) -> list[splits.Part]:
        return splits.parse(self._split, self._counts())

    def _counts(self) -> dict[str, int | None]:
        return {name: self._rows(name).count for name in self._wanted}
