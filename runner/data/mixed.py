"""`data.type: mixed`: several folders and data sets of the hub as one source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from runner.data.source import Entry, Origin, Place, Source, open_source
from runner.errors import DataError, EnvironmentFault, ModelError, Refused
from runner.shown import shown

if TYPE_CHECKING:
    from runner.processes.world import World
    from runner.progress import Progress

_CAPTION_KEYS = ("instance_prompt", "caption_templates")
_OWN_KEY = re.compile(r"\bdata\.(id|split|revision|image_column|caption_column|label_column|metadata_file)\b")
_ABSENT = {"streaming": False, "config": None}  # keys of data.type hub that an entry has not


class Mixed(Source):
    """The pictures of all sources, one source after the other.

    Each picture's name begins with its source's: the last part of its id, with a number where two would be alike
    (`roses/a.png`, `roses (2)/a.png`). Classes of one name are one class.

    Args:
        sources: the resolved entries of `data.sources`.
        offline: never use the network.

    Raises:
        As the sources' own; each sentence names the source's place.
    """

    def __init__(self, *, sources: Sequence[Mapping[str, Any]], offline: bool) -> None:
        self._sources: list[Source] = []
        for i, entry in enumerate(sources):
            try:
                self._sources.append(open_source({**_ABSENT, **entry}, offline=offline))
            except (DataError, ModelError, EnvironmentFault, Refused) as error:
                raise type(error)(_placed(str(error), f"data.sources[{i}]")) from error
        self._names = _names([str(entry["id"]) for entry in sources])
        self.origins = [
            Origin(name, entry["repeats"], _captions(entry)) for name, entry in zip(self._names, sources, strict=True)
        ]
        parts = "\n".join(
            f"{source.fingerprint} {name!a}" for source, name in zip(self._sources, self._names, strict=True)
        )
        self.fingerprint = sha256(parts.encode("ascii")).hexdigest()

    @cached_property
    def classes(self) -> list[str]:  # type: ignore[override]  # read late: a hub's column of classes is read for it
        """The sources' classes in the order in which they first appear."""
        return list(dict.fromkeys(name for source in self._sources for name in source.classes))

    @property
    def count(self) -> int | None:  # type: ignore[override]  # read-only here
        """How many pictures all sources have, if each knows before reading."""
        counts = [source.count for source in self._sources]
        return None if None in counts else sum(count for count in counts if count is not None)

    def shown(self, limit: int | None) -> int | None:
        """See `Source.shown`."""
        total, left = 0, limit
        for source, origin in zip(self._sources, self.origins, strict=True):
            count = source.shown(left)
            if count is None:
                return None
            total, left = total + count * origin.repeats, None if left is None else left - count
        return total

    def fetch(self, progress: Progress) -> None:
        """See `Source.fetch`: one source after the other."""
        for source in self._sources:
            source.fetch(progress)

    def agree(self, world: World) -> None:
        """See `Source.agree`: one source after the other."""
        for source in self._sources:
            source.agree(world)

    def part(self, rank: int, count: int, limit: int | None) -> Iterator[tuple[Place, Entry]]:
        """See `Source.part`: a share of each source."""
        if limit is not None and self.count is None:
            yield from super().part(rank, count, limit)
            return
        left = limit
        numbers = {name: number for number, name in enumerate(self.classes)}
        for origin, (source, prefix) in enumerate(zip(self._sources, self._names, strict=True)):
            labels = [numbers[name] for name in source.classes]
            for (_, row), (item, load) in source.part(rank, count, left):
                label = None if item.label is None else labels[item.label]
                item = replace(item, name=f"{prefix}/{item.name}", label=label, origin=origin)
                yield Place(origin, row), Entry(item, load)
            read = source.first(left)
            left = None if left is None or read is None else left - read

    def __iter__(self) -> Iterator[Entry]:
        return (entry for _, entry in self.part(0, 1, None))


def _placed(message: str, place: str) -> str:
    """What a source says of `data.id` and its like, said of the entry at `place`."""
    placed = _OWN_KEY.sub(rf"{place}.\1", message)
    return placed if placed != message else f"{place}: {message}"


def _names(ids: Sequence[str]) -> list[str]:
    """The last part of each id, no two alike."""
    names: list[str] = []
    for identifier in ids:
        name = last = PurePath(identifier).name or shown(identifier)
        number = 1
        while name in names:
            number += 1
            name = f"{last} ({number})"
        names.append(name)
    return names


def _captions(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: entry[key] for key in _CAPTION_KEYS if entry.get(key) is not None}
