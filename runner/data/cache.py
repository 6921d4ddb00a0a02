"""Decode every picture once: the pictures of a source, prepared for training and kept on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL
from numpy.typing import NDArray

from runner.data import draft
from runner.data.buckets import bucket_sizes
from runner.data.decode import skippable
from runner.data.decoded import decoded, written
from runner.data.source import Origin, Source
from runner.data.store import Store
from runner.data.transforms import Pixels
from runner.errors import DataError, Refused
from runner.secrets import redact
from runner.shown import shown

if TYPE_CHECKING:
    from runner.processes.world import World
    from runner.progress import Progress

_FORM = 2  # of the cache's keys; a new one makes every cache anew
_DECIDE = ("resolution", "interpolation", "center_crop", "background", "max_images")
# For a source that draws its pictures at the resolution itself and has none of these keys: they change no pixel then.
_AS_DRAWN = {
    "interpolation": "lanczos",
    "center_crop": True,
    "background": "#ffffff",
    "max_images": None,
    "on_error": "stop",
    "aspect_ratio_buckets": None,
}
_AT_ONCE = 2**16


class Pictures:
    """Prepared pictures, by number: `len(pictures)` used ones, which with the skipped ones make those `found`.

    Attributes:
        found: how many pictures the source has.
        skipped: (name, reason) of those that cannot be used.
        classes: what labels index; empty without labels.
        labels: int64 (n,), -1 for none; None where there are no classes.
        fingerprint: the cache's key: equal for equal pixels, captions and labels.
        original_sizes: int64 (n, 2), width and height before scaling.
        sizes: int64 (n, 2), the height and width that training sees: the bucket's, or twice the resolution. Where crops
            are random, the prepared picture itself is larger.
        crops: int64 (n, 2), top and left of a middle crop of that size in the scaled picture.
        origins: the sources that are mixed; one where nothing is mixed.
        origin: int64 (n,), which of `origins` each picture comes from.
        repeats: int64 (n,), how often an epoch shows each picture.
    """

    def __init__(self, store: Store, fingerprint: str, origins: Sequence[Origin] = (Origin(),)) -> None:
        self._store = store
        self.found = store.found
        self.skipped = store.skipped
        self.classes = store.classes
        self.labels: NDArray[np.int64] | None = store.index["label"] if store.classes else None
        self.fingerprint = fingerprint
        self.original_sizes = np.stack([store.index["original_width"], store.index["original_height"]], axis=1)
        self.sizes = np.stack([store.index["target_height"], store.index["target_width"]], axis=1)
        self.crops = _middle(self.original_sizes[:, ::-1], self.sizes)
        self.origins = origins
        self.origin: NDArray[np.int64] = store.index["origin"]
        self.repeats: NDArray[np.int64] = np.array([origin.repeats for origin in origins])[self.origin]

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, i: int) -> Pixels:
        """uint8 (h, w, 3), a read-only view of the memory map."""
        if not 0 <= i < len(self):
            raise IndexError(i)
        return self._store.pixels(i)

    def caption(self, i: int) -> str | None:
        """The caption of picture `i`, or None."""
        return self._store.text(i)[1]

    def name(self, i: int) -> str:
        """The source's name for picture `i`."""
        return self._store.text(i)[0]

    def caption_keys(self, i: int) -> Mapping[str, Any]:
        """The `instance_prompt` and `caption_templates` that picture `i`'s own source gives; {} where it gives none."""
        return self.origins[self.origin[i]].captions


def _middle(originals: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Top and left of a crop of `sizes` in the middle of pictures of `originals`, scaled to cover them; (n, 2) each."""
    crops = np.empty_like(sizes)
    for start in range(0, len(sizes), _AT_ONCE):  # what lies between is as large as what comes out
        part = slice(start, start + _AT_ONCE)
        (high, wide), (height, width) = originals[part].T, sizes[part].T
        flat = wide * height >= high * width  # as `covering`, for all at once
        tall, broad = np.rint(high * width / wide), np.rint(wide * height / high)
        crops[part, 0] = (np.where(flat, height, tall).astype(np.int64) - height) // 2
        crops[part, 1] = (np.where(flat, broad, width).astype(np.int64) - width) // 2
    return crops


def prepare(
    source: Source, *, section: Mapping[str, Any], cache_dir: Path, progress: Progress, world: World
) -> Pictures:
    """Every usable picture of `source` at its training size, from the cache or decoded into it now.

    Args:
        section: the resolved `data` section.
        cache_dir: the cache root; this writes below `cache_dir/pictures`.
        world: the processes, which share the work.

    Raises:
        DataError: no picture can be used; some are broken and `on_error` is 'stop'; or this process sees other data
            than the main one.
        EnvironmentFault: the cache cannot be written, or the machine fails while reading.
        Refused: the name of a class holds a token, or a secret of the environment.
    """
    choices = {**_AS_DRAWN, **section}
    key = _key(source, choices)
    if world.tell(key) != key:
        raise DataError(
            f"process {world.rank} sees other data than the first (other files, sizes or times of change, or another "
            "version of Pillow): give all machines one folder on a disk that they share, or copies that keep the times "
            "(rsync -a), and the same packages"
        )
    place = cache_dir / "pictures" / key
    store = draft.made_by_all(
        place,
        Store.open,
        lambda: decoded(source, choices, _targets(choices), progress, world),
        lambda done: written(done, source, choices, place, progress),
        progress,
        world,
    )
    pictures = Pictures(store, key, source.origins)
    for name in pictures.classes:
        if redact(name) != name:
            raise Refused(f"the class {shown(name)!r} of the data holds a secret: call it otherwise")
    if pictures.skipped:
        message = skippable(pictures.skipped, pictures.found, choices["on_error"])
        progress.warn(f"{message}: skipped, {len(pictures)} are used")
    return pictures


def _key(source: Source, choices: Mapping[str, Any]) -> str:
    deciding = [_FORM, PIL.__version__, source.fingerprint, *(choices[key] for key in _DECIDE)]
    if choices["aspect_ratio_buckets"] is not None:
        deciding.append(_targets(choices))
    return sha256(json.dumps(deciding).encode()).hexdigest()


def _targets(choices: Mapping[str, Any]) -> list[tuple[int, int]]:
    """The sizes (height, width) that training may see."""
    resolution, buckets = choices["resolution"], choices["aspect_ratio_buckets"]
    return [(resolution, resolution)] if buckets is None else bucket_sizes(resolution, **buckets)
