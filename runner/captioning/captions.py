"""Write captions for the pictures of a source: in batches, kept as they come, so that no work is done twice."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import Image

from runner.captioning.captioned import Captioned
from runner.captioning.captioner import Captioner
from runner.captioning.kept import Kept, Looked
from runner.captioning.model import CaptionFacts
from runner.data.decode import NAMED, broken, reason, to_rgb
from runner.data.source import Entry, Source
from runner.data.workers import in_order
from runner.errors import DataError, EnvironmentFault, RecipeError
from runner.memory import free_memory
from runner.outputs.folder import RunFolder
from runner.shown import shown
from runner.signals import Stop

if TYPE_CHECKING:
    from runner.progress import Progress

METADATA = "captions/metadata.jsonl"
"""In the run's folder: a line {"file_name": …, "text": …} per picture, for `data.metadata_file`."""

_VERSION = 1
_SIDE = 1024  # pixels: the model sees larger pictures at this size, which bounds memory and its tokens
_MACHINE = {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNRESET}


def caption(
    source: Source,
    facts: CaptionFacts,
    section: dict[str, Any],
    *,
    device: torch.device,
    dtype: torch.dtype,
    cache_dir: Path,
    folder: Path,
    progress: Progress,
    stop: Stop,
) -> Captioned:
    """`source` with a caption for every picture that lacks one, or for all of them where `overwrite` is set.

    What was written by the same model and prompt before is taken from the cache; the model is not even loaded where
    that is all. A picture is known by its pixels, so it may be moved or renamed. The data itself is not written to.

    Args:
        section: the settled `data` section, with `caption`.
        dtype: the number format of the model's weights.
        cache_dir: the cache root; this writes below `cache_dir/captions`.
        folder: the run's folder, which gets captions/metadata.jsonl.
        stop: asked between batches; what was captioned until then is kept.

    Raises:
        DataError: pictures are broken and `on_error` is 'stop'.
        ModelError, Refused: the model cannot be loaded or used.
        EnvironmentFault: the hub, the disk or the memory.
        Interrupted: a signal.
    """
    asked, limit = section["caption"], section.get("max_images")
    background = section.get("background", "#ffffff")  # a source that draws its own pictures has none of these keys
    root = cache_dir / "captions"
    kept = Kept(root / f"{_key(facts.fingerprint(), asked['prompt'], asked['max_new_tokens'], str(dtype))}.jsonl")
    place = root / "pictures" / f"{_key(source.fingerprint, background, asked['overwrite'], limit)}.json"
    source.fetch(progress)
    looked, new = Looked.read(place), set[str]()
    if looked is None or not all(digest is None or digest in kept for digest in looked.digests):
        load = partial(Captioner, facts, asked, device=device, dtype=dtype, progress=progress)
        pen = _Pen(kept, load, stop, asked["batch_size"])
        look = partial(_look, background=background, overwrite=asked["overwrite"], kept=kept)
        looked, new = _go_through(source, limit, look, pen, progress), pen.written
        looked.write(place)
        del pen
        free_memory()
    if looked.broken:
        _say_broken(looked, section.get("on_error", "stop"), progress)
    captions = {i: kept[digest] or None for i, digest in enumerate(looked.digests) if digest is not None}
    captioned = Captioned(source, captions)
    written = sum(text is not None and looked.digests[i] in new for i, text in captions.items())
    _write_metadata(captioned, captions, limit, written, folder, progress)
    return captioned


class _Seen(NamedTuple):
    """One picture: its digest where it is to be captioned, its pixels where that was not done before."""

    name: str
    digest: str | None
    image: Image.Image | None = None
    reason: str = ""


class _Pen:
    """Collects pictures and writes their captions, a batch at a time; the model is loaded for the first one."""

    def __init__(self, kept: Kept, load: Callable[[], Captioner], stop: Stop, size: int) -> None:
        self._kept, self._load, self._stop, self._size = kept, load, stop, size
        self._captioner: Captioner | None = None
        self._batch: dict[str, Image.Image] = {}
        self.written: set[str] = set()

    def take(self, seen: _Seen) -> int:
        """Returns how many pictures are done by it."""
        if seen.image is None or seen.digest is None or seen.digest in self._kept or seen.digest in self._batch:
            return 1
        self._batch[seen.digest] = seen.image
        return self.write() if len(self._batch) == self._size else 0

    def write(self) -> int:
        """Captions what was collected; returns how many pictures that were."""
        if not self._batch:
            return 0
        if self._captioner is None:
            self._captioner = self._load()
        with self._stop.deferred():
            texts = self._captioner(list(self._batch.values()))
            self._kept.add(zip(self._batch, texts, strict=True))
            count = len(self._batch)
            self.written.update(self._batch)
            self._batch.clear()
        self._stop.check(f"after {len(self.written):,} captions, which are kept")
        return count


def _go_through(
    source: Source, limit: int | None, look: Callable[[Entry], _Seen], pen: _Pen, progress: Progress
) -> Looked:
    total = source.count if limit is None or source.count is None else min(source.count, limit)
    looked = Looked()
    with progress.bar("Captioning", total, unit="picture") as bar:
        for seen in in_order(look, islice(source, limit)):
            looked.digests.append(seen.digest)
            if seen.reason:
                looked.broken.append((seen.name, seen.reason))
            done = pen.take(seen)
            if done:
                bar.advance(done)
        bar.advance(pen.write())
    return looked


def _look(entry: Entry, *, background: str, overwrite: bool, kept: Kept) -> _Seen:
    """The picture of an entry, if it is to be captioned and was not before."""
    name = entry.item.name
    if entry.item.caption is not None and not overwrite:
        return _Seen(name, None)
    try:
        image = to_rgb(entry.load(), background)
    except RecipeError:
        raise
    except Exception as error:  # pillow raises nearly anything on broken files; each becomes a reason
        if isinstance(error, OSError) and error.errno in _MACHINE:
            raise EnvironmentFault(f"the machine could not read {shown(name)} ({error.strerror}): try again") from error
        return _Seen(name, None, reason=reason(error))
    digest = sha256(b"%d %d " % image.size + image.tobytes()).hexdigest()
    if digest in kept:
        return _Seen(name, digest)
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return _Seen(name, digest, image)


def _say_broken(looked: Looked, on_error: str, progress: Progress) -> None:
    message = broken(looked.broken, len(looked.digests))
    if on_error == "stop":
        raise DataError(f"{message}: repair or remove them, or go on without them by data.on_error: skip")
    progress.warn(f"{message}: they get no caption")


def _write_metadata(
    captioned: Captioned,
    captions: dict[int, str | None],
    limit: int | None,
    written: int,
    folder: Path,
    progress: Progress,
) -> None:
    """All pictures with their captions, old and new, into the run's folder; says how many there are of each."""
    lines, without, had = [], [], 0
    for i, (item, _) in enumerate(islice(captioned, limit if captioned.count is None else None)):
        lines.append(json.dumps({"file_name": item.name, "text": item.caption}))  # names of any bytes survive in ASCII
        if i not in captions:
            had += item.caption is not None
        elif item.caption is None:
            without.append(shown(item.name, 100))
    path = RunFolder(folder).write_text(METADATA, "".join(line + "\n" for line in lines))
    done = len(captions) - len(without)
    progress.say(f"{done:,} pictures captioned ({written:,} now), {had:,} had a caption: {shown(path, 1000)}")
    if without:
        more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
        named = ", ".join(without[:NAMED]) + more
        progress.warn(f"the model had no words for {len(without)} of {len(captions)} pictures: {named}")


def _key(*deciding: Any) -> str:
    return sha256(json.dumps([_VERSION, *deciding]).encode("ascii")).hexdigest()
