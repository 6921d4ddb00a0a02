"""A source whose pictures have the captions that were written for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from runner.data.source import Entry, Place, Source

if TYPE_CHECKING:
    from runner.progress import Progress


class Captioned(Source):
    """The pictures of `source` in its order, with new captions.

    Args:
        source: the pictures, fetched.
        captions: by the places that `source.part` tells; None takes a picture's caption away.
        fingerprint: of the source with these captions.
    """

    def __init__(self, source: Source, captions: Mapping[Place, str | None], fingerprint: str) -> None:
        self._source, self.captions = source, captions
        self.classes, self.count, self.origins = source.classes, source.count, source.origins
        self.streamed = source.streamed
        self.fingerprint = fingerprint

    def fetch(self, progress: Progress) -> None:
        self._source.fetch(progress)

    def part(self, rank: int, count: int, limit: int | None) -> Iterator[tuple[Place, Entry]]:
        for place, entry in self._source.part(rank, count, limit):
            if place in self.captions:
                entry = entry._replace(item=replace(entry.item, caption=self.captions[place]))
            yield place, entry

    def __iter__(self) -> Iterator[Entry]:
        return (entry for _, entry in self.part(0, 1, None))
