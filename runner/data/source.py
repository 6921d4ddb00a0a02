"""Where pictures come from: what every data source offers, and the lookup that opens one.

Adding a source is one file here with a class that has `classes`, `fingerprint`, `count` and `__iter__`,
one fragment in schemas/data/ and one line in `_TYPES`.
"""

from __future__ import annotations

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from PIL import Image

    from runner.processes.world import World
    from runner.progress import Progress

_TYPES = {
    "builtin": ("runner.data.builtin", "Builtin"),
    "folder": ("runner.data.folder", "Folder"),
    "hub": ("runner.data.hub", "open_hub"),
    "mixed": ("runner.data.mixed", "Mixed"),
}


@dataclass(frozen=True, slots=True)
class Item:
    """What is known of a picture besides its pixels.

    Args:
        name: how messages and records call it: a path relative to the source, or split and row.
        caption: its text, or None.
        label: an index into the source's `classes`, or None.
        origin: an index into the source's `origins`.
    """

    name: str
    caption: str | None
    label: int | None
    origin: int = 0


class Origin(NamedTuple):
    """What one of several mixed sources says of its pictures.

    Args:
        name: how it is called.
        repeats: how often an epoch shows each of them.
        captions: the caption keys of its own (`instance_prompt`, `caption_templates`), those that are given.
    """

    name: str = ""
    repeats: int = 1
    captions: Mapping[str, Any] = MappingProxyType({})


class Entry(NamedTuple):
    """One picture of a source, not decoded yet.

    `load()` gives the raw picture in any mode; it may be called once, in any thread, and raises on a broken one
    whatever pillow raises (`runner.data.decode.reason` turns that into words).
    """

    item: Item
    load: Callable[[], Image.Image]


class Place(NamedTuple):
    """Where in a source an entry stands: a source's order is that of its places.

    Args:
        shard: which of the source's pieces; 0 where it is not read in pieces.
        row: its number in there.
    """

    shard: int
    row: int


class Source(ABC):
    """Pictures in a fixed order, read from the first to the last; iterating anew starts over.

    Opening a source only lists: it reads metadata, never a picture. Memory stays flat while iterating: an entry holds
    at most its own file's bytes.

    Attributes:
        classes: the class names that labels index; empty where the pictures have no labels.
        fingerprint: a hex digest of everything in the source that decides pixels, captions and labels.
        count: how many entries there are; None where only reading tells (a stream).
        origins: what the items' `origin` indexes.
        streamed: whether reading on fetches what is read, over a network.
    """

    classes: list[str]
    fingerprint: str
    count: int | None
    origins: Sequence[Origin] = (Origin(),)
    streamed: bool = False

    def fetch(self, progress: Progress) -> None:  # noqa: B027 (most sources have nothing to fetch)
        """Bring what must be downloaded before the pictures can be read, shown as a bar; call it before iterating."""

    def agree(self, world: World) -> None:  # noqa: B027 (most sources know all from the start)
        """What only reading all of it tells is read by the main process and told to the others."""

    def shown(self, limit: int | None) -> int | None:
        """How many pictures an epoch shows of the first `limit`, repeats counted; None where only reading tells."""
        return self.first(limit)

    def first(self, limit: int | None) -> int | None:
        """How many entries the first `limit` are; None where only reading tells."""
        return self.count if limit is None or self.count is None else min(self.count, limit)

    def part(self, rank: int, count: int, limit: int | None) -> Iterator[tuple[Place, Entry]]:
        """The share of one of `count` processes in the first `limit` entries; all shares together are these entries.

        A stream is all the first one's: each would fetch all of it for its share.
        """
        if not self.streamed or rank == 0:
            for row, entry in islice(enumerate(islice(self, limit)), rank, None, 1 if self.streamed else count):
                yield Place(0, row), entry

    @abstractmethod
    def __iter__(self) -> Iterator[Entry]:
        """Every entry found, broken ones included: their `load` raises."""


class Listed(Source):
    """A source that can draw any picture by its number: subclasses give `items` and `picture`."""

    items: Sequence[Item]

    @abstractmethod
    def picture(self, index: int) -> Image.Image:
        """The raw picture of `items[index]`, in any mode."""

    @property
    def count(self) -> int:  # type: ignore[override]  # read-only here
        """How many pictures there are."""
        return len(self.items)

    def __iter__(self) -> Iterator[Entry]:
        for index, item in enumerate(self.items):
            yield Entry(item, partial(self.picture, index))


def fetch(source: Source, progress: Progress, world: World) -> None:
    """`Source.fetch` and `Source.agree` by all processes that read it, the main one first."""
    with world.main_first():
        source.fetch(progress)
    source.agree(world)


def open_source(section: Mapping[str, Any], *, offline: bool) -> Source:
    """The source that a resolved `data` section describes: listed, nothing downloaded or decoded yet.

    Args:
        section: every key of the section filled; an `id` that is a path is absolute already.
        offline: never use the network; only `hub` asks.

    Raises:
        DataError, ModelError (hub ids), EnvironmentFault, Refused.
    """
    module, name = _TYPES[section["type"]]
    build = getattr(importlib.import_module(module), name)
    given = {**section, "offline": offline}
    return cast(Source, build(**{key: given[key] for key in inspect.signature(build).parameters}))
