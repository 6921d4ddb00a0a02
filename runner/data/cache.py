"""Decode every picture once: the pictures of a source, prepared for training and kept on disk."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray

from runner.data import draft
from runner.data.buckets import bucket_sizes, nearest
from runner.data.decode import reason, to_rgb
from runner.data.source import Entry, Item, Origin, Source
from runner.data.store import Store, Writer
from runner.data.transforms import Pixels, fit, require_thick
from runner.data.workers import in_order
from runner.errors import DataError, EnvironmentFault, RecipeError, Refused
from runner.secrets import redact
from runner.shown import shown
from runner.tally import gibibytes

if TYPE_CHECKING:
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
NAMED = 10  # broken pictures named in a message
_MACHINE = {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNRESET}


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


def prepare(source: Source, *, section: Mapping[str, Any], cache_dir: Path, progress: Progress) -> Pictures:
    """Every usable picture of `source` at its training size, from the cache or decoded into it now.

    Args:
        section: the resolved `data` section.
        cache_dir: the cache root; this writes below `cache_dir/pictures`.

    Raises:
        DataError: no picture can be used; or some are broken and `on_error` is 'stop'.
        EnvironmentFault: the cache cannot be written, or the machine fails while reading.
        Refused: the name of a class holds a token, or a secret of the environment.
    """
    choices = {**_AS_DRAWN, **section}
    key = _key(source, choices)
    root = cache_dir / "pictures"
    store = draft.opened(Store.open, root / key, progress) or _build(source, choices, root, key, progress)
    pictures = Pictures(store, key, source.origins)
    for name in pictures.classes:
        if redact(name) != name:
            raise Refused(f"the class {shown(name)!r} of the data holds a secret: call it otherwise")
    if pictures.skipped:
        message = broken(pictures.skipped, pictures.found)
        if choices["on_error"] == "stop":
            raise DataError(f"{message}: repair or remove them, or go on without them by data.on_error: skip")
        progress.warn(f"{message}: skipped, {len(pictures)} are used")
    return pictures


def broken(skipped: Sequence[tuple[str, str]], found: int) -> str:
    """Which of `found` pictures cannot be used and why, the first ten named."""
    named = [f"{shown(name, 100)} {reason}" for name, reason in skipped[:NAMED]]
    if len(skipped) > NAMED:
        named.append(f"and {len(skipped) - NAMED} more")
    are = "picture cannot" if found == 1 else "pictures cannot"
    return f"{len(skipped)} of {found} {are} be used ({'; '.join(named)})"


def none_usable(skipped: Sequence[tuple[str, str]]) -> DataError:
    """All that were found are `skipped`."""
    problem = broken(skipped, len(skipped)) if skipped else "the data holds no picture"
    return DataError(f"{problem}: check data.id, or give pictures that can be read")


class _Fitted(NamedTuple):
    item: Item
    pixels: Pixels | None
    original: tuple[int, int]
    target: tuple[int, int]
    reason: str


def _key(source: Source, choices: Mapping[str, Any]) -> str:
    deciding = [_FORM, PIL.__version__, source.fingerprint, *(choices[key] for key in _DECIDE)]
    if choices["aspect_ratio_buckets"] is not None:
        deciding.append(_targets(choices))
    return sha256(json.dumps(deciding).encode()).hexdigest()


def _targets(choices: Mapping[str, Any]) -> list[tuple[int, int]]:
    """The sizes (height, width) that training may see."""
    resolution, buckets = choices["resolution"], choices["aspect_ratio_buckets"]
    return [(resolution, resolution)] if buckets is None else bucket_sizes(resolution, **buckets)


def _build(source: Source, choices: Mapping[str, Any], root: Path, key: str, progress: Progress) -> Store:
    source.fetch(progress)
    limit = choices["max_images"]
    total = source.count if limit is None or source.count is None else min(source.count, limit)
    work = partial(
        _fitted,
        background=choices["background"],
        targets=_targets(choices),
        interpolation=choices["interpolation"],
        center_crop=choices["center_crop"],
    )
    skipped: list[tuple[str, str]] = []
    with Writer(root) as writer:
        _check_space(root, total, choices["resolution"])
        with progress.bar("Reading pictures", total, unit="picture") as bar:
            for done in in_order(work, islice(source, limit)):
                if done.pixels is None:
                    writer.skip(done.item, done.reason)
                    skipped.append((done.item.name, done.reason))
                else:
                    writer.add(done.item, done.pixels, done.original, done.target)
                bar.advance()
        if not writer.used:
            raise none_usable(skipped)
        store = Store.open(writer.keep(key, source.classes))
    if store is None:
        raise EnvironmentFault(
            f"the picture cache in {shown(root, 1000)} is damaged right after writing: check the disk"
        )
    return store


def _fitted(
    entry: Entry, *, background: str, targets: list[tuple[int, int]], interpolation: str, center_crop: bool
) -> _Fitted:
    try:
        image = to_rgb(entry.load(), background)
        require_thick(*image.size)
        target = nearest(targets, *image.size)
        pixels = fit(image, height=target[0], width=target[1], interpolation=interpolation, center_crop=center_crop)
        return _Fitted(entry.item, pixels, image.size, target, "")
    except RecipeError:
        raise
    except Exception as error:  # pillow raises nearly anything on broken files; each becomes a reason
        if isinstance(error, OSError) and error.errno in _MACHINE:
            name = shown(entry.item.name)
            raise EnvironmentFault(f"the machine could not read {name} ({error.strerror}): try again") from error
        return _Fitted(entry.item, None, (0, 0), (0, 0), reason(error))


def _check_space(root: Path, count: int | None, resolution: int) -> None:
    """Say before hours of decoding that the pictures will not fit."""
    needed = (count or 0) * resolution * resolution * 3
    free = shutil.disk_usage(root).free
    if needed > free:
        raise EnvironmentFault(
            f"the prepared pictures need {gibibytes(needed)}, "
            f"and {shown(root, 1000)} has {gibibytes(free)} free: "
            "free some space there, choose another folder with --cache-dir, or use fewer by data.max_images"
        )
