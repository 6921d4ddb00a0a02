"""One process's share of captioning: it looks at its pictures and writes for those that have no caption yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple

from PIL import Image

from runner.captioning.captioner import Captioner
from runner.captioning.kept import Kept, Seen
from runner.data.decode import blamed, to_rgb
from runner.data.source import Entry, Place
from runner.data.workers import SOON, in_order
from runner.signals import Stop

_SIDE = 1024  # pixels: the model sees larger pictures at this size, which bounds memory and its tokens


class Done(NamedTuple):
    """Pictures that were looked at, and what was written since: digest -> caption."""

    seen: list[Seen]
    texts: dict[str, str]


class Share:
    """Looks and writes, a batch at a time; the model is loaded for the first one.

    Args:
        kept: what was written before.
        load: the model.
        stop: the signals, which wait for the end of a batch.
        batch_size: how many pictures the model sees at once.
        background: as in the `data` section.
        overwrite: as in `data.caption`.

    Attributes:
        written: the digests of what has a caption since this began; whoever keeps captions of others adds theirs.
    """

    def __init__(
        self,
        kept: Kept,
        load: Callable[[], Captioner],
        stop: Stop,
        *,
        batch_size: int,
        background: str,
        overwrite: bool,
    ) -> None:
        self._kept, self._load, self._stop, self._size = kept, load, stop, batch_size
        self._background, self._overwrite = background, overwrite
        self._captioner: Captioner | None = None
        self.written: set[str] = set()

    def __call__(self, entries: Iterable[tuple[Place, Entry]]) -> Iterator[Done]:
        """What becomes of these pictures, some at a time.

        Raises:
            ModelError, Refused, EnvironmentFault: the model, or the machine.
        """
        seen, since = list[Seen](), time.monotonic()
        batch: dict[str, Image.Image] = {}
        for one, image in in_order(self._look, entries, by_all=True):
            seen.append(one)
            if image is not None and one.digest is not None and not self._has(one.digest):
                batch.setdefault(one.digest, image)
            if len(batch) == self._size:
                yield Done(seen, self._write(batch))
                seen, batch, since = [], {}, time.monotonic()
            elif time.monotonic() - since > SOON:
                yield Done(seen, {})
                seen, since = [], time.monotonic()
        yield Done(seen, self._write(batch))

    def reached(self) -> str:
        """How far it has come, in words that follow 'stopped'."""
        return f"after {len(self.written):,} captions, which are kept" if self.written else ""

    def _write(self, batch: dict[str, Image.Image]) -> dict[str, str]:
        if not batch:
            return {}
        if self._captioner is None:
            self._captioner = self._load()
        with self._stop.deferred():
            texts = dict(zip(batch, self._captioner(list(batch.values())), strict=True))
        self.written.update(texts)
        return texts

    def _has(self, digest: str) -> bool:
        return digest in self._kept or digest in self.written

    def _look(self, placed: tuple[Place, Entry]) -> tuple[Seen, Image.Image | None]:
        """A picture, with its pixels if it is to be captioned and was not before."""
        place, (item, load) = placed
        if item.caption is not None and not self._overwrite:
            return Seen(place, item.name, item.caption, None), None
        try:
            image = to_rgb(load(), self._background)
        except Exception as error:  # pillow raises nearly anything on broken files
            return Seen(place, item.name, item.caption, None, blamed(item.name, error)), None
        digest = sha256(b"%d %d " % image.size + image.tobytes()).hexdigest()
        seen = Seen(place, item.name, item.caption, digest)
        if self._has(digest):
            return seen, None
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        return seen, image
