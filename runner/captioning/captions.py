"""Write captions for the pictures of a source: in batches, kept as they come, so that no work is done twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from runner.captioning.captioned import Captioned
from runner.captioning.captioner import Captioner
from runner.captioning.kept import Kept, Looked, Seen
from runner.captioning.model import CaptionFacts
from runner.captioning.share import Share
from runner.data.decode import NAMED, skippable
from runner.data.folder import Folder
from runner.data.source import Place, Source, fetch
from runner.memory import free_memory
from runner.outputs.folder import RunFolder
from runner.shown import shown

if TYPE_CHECKING:
    from runner.processes.world import World
    from runner.progress import Progress

METADATA = "captions/metadata.jsonl"
"""In the run's folder: a line {"file_name": …, "text": …} per picture, for `data.metadata_file`."""

_VERSION = 1


@dataclass(frozen=True)
class Around:
    """What captioning works with, besides pictures and model.

    Attributes:
        device: where the model works.
        dtype: the number format of its weights.
        cache_dir: the cache root; what is written is kept below `cache_dir/captions`.
        folder: the run's folder, which gets captions/metadata.jsonl.
        world: the processes, which share the work, and the signals, which stop it between batches: what was captioned
            until then is kept.
    """

    device: torch.device
    dtype: torch.dtype
    cache_dir: Path
    folder: Path
    progress: Progress
    world: World


def caption(source: Source, facts: CaptionFacts, section: dict[str, Any], around: Around) -> Captioned:
    """`source` with a caption for every picture that lacks one, or for all of them where `overwrite` is set.

    What was written by the same model and prompt before is taken from the cache; the model is not even loaded where
    that is all. A picture is known by its pixels, so it may be moved or renamed. The data itself is not written to.

    Args:
        section: the settled `data` section, with `caption`.

    Raises:
        DataError: pictures are broken and `on_error` is 'stop'.
        ModelError, Refused: the model cannot be loaded or used.
        EnvironmentFault: the hub, the disk or the memory.
        Interrupted: a signal.
    """
    asked, world = section["caption"], around.world
    root, words = around.cache_dir / "captions", (asked["prompt"], asked["max_new_tokens"], str(around.dtype))
    kept = Kept(root / f"{_key(facts.fingerprint(), *words)}.jsonl")
    fetch(source, around.progress, world)
    looked, new = _look(source, facts, section, kept, root / "pictures", around)
    free_memory()
    if not world.main:
        return Captioned(source, *world.tell(({}, "")))
    if looked.broken:
        message = skippable(looked.broken, len(looked.seen), section.get("on_error", "stop"))
        around.progress.warn(f"{message}: they get no caption")
    captions = looked.captions(kept)
    _write_metadata(looked, captions, source, new, around)
    by_number = [(i, captions[one.place]) for i, one in enumerate(looked.seen) if one.place in captions]
    fingerprint = sha256(json.dumps([source.fingerprint, by_number]).encode("ascii")).hexdigest()
    return Captioned(source, *world.tell((captions, fingerprint)))


def _look(
    source: Source, facts: CaptionFacts, section: dict[str, Any], kept: Kept, root: Path, around: Around
) -> tuple[Looked, set[str]]:
    """What the pictures are, in the main process, and the digests of those captioned now.

    What was found is kept below `root` for the next time.
    """
    asked, limit, world = section["caption"], section.get("max_images"), around.world
    background = section.get("background", "#ffffff")  # a source that draws its own pictures has none of these keys
    place = root / f"{_key(source.fingerprint, background, asked['overwrite'], limit, source.streamed)}.json"
    found = Looked.read(place) if world.main else None
    if world.tell(found is not None and found.captioned_in(kept)):
        return found or Looked(), set()
    if world.count > 1:  # each loads the model
        with world.main_first():
            facts.files.fetch(facts.names, around.progress)
    load = partial(Captioner, facts, asked, device=around.device, dtype=around.dtype, progress=around.progress)
    look = {"background": background, "overwrite": asked["overwrite"]}
    share = Share(kept, load, world.stop, batch_size=asked["batch_size"], **look)
    looked = _go_through(source, limit, share, kept, around)
    if world.main:
        looked.write(place)
    return looked, share.written


def _go_through(source: Source, limit: int | None, share: Share, kept: Kept, around: Around) -> Looked:
    """Looks at all pictures and keeps what is written for them, in the main process."""
    world, seen = around.world, list[Seen]()
    done = world.gathered(share(source.part(world.rank, world.count, limit)), share.reached)
    with around.progress.bar("Captioning", source.first(limit), unit="picture") as bar:
        for some, texts in done:
            new = {digest: text for digest, text in texts.items() if digest not in kept}  # alike in two shares
            if new:
                with world.stop.deferred():
                    kept.add(new.items())
                share.written.update(new)
            seen += some
            bar.advance(len(some))
    return Looked(seen)


def _write_metadata(
    looked: Looked, captions: Mapping[Place, str | None], source: Source, new: set[str], around: Around
) -> None:
    """All pictures with their captions, old and new, into the run's folder; says how many there are of each."""
    texts = [(one.name, captions.get(one.place, one.caption)) for one in looked.seen]
    if isinstance(source, Folder):  # of which it is to name every picture, also those behind `max_images`
        texts += [(item.name, item.caption) for item, _ in islice(source, len(texts), None)]
    had = sum(text is not None for _, text in texts) - sum(text is not None for text in captions.values())
    # Names of any bytes survive in ASCII.
    lines = [json.dumps({"file_name": name, "text": text}) + "\n" for name, text in texts]
    path = RunFolder(around.folder).write_text(METADATA, "".join(lines))
    without = [shown(one.name, 100) for one in looked.seen if captions.get(one.place, "") is None]
    now = sum(one.digest in new and captions[one.place] is not None for one in looked.seen)
    done = f"{len(captions) - len(without):,} pictures captioned ({now:,} now)"
    around.progress.say(f"{done}, {had:,} had a caption: {shown(path, 1000)}")
    if without:
        more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
        named = ", ".join(without[:NAMED]) + more
        around.progress.warn(f"the model had no words for {len(without)} of {len(captions)} pictures: {named}")


def _key(*deciding: Any) -> str:
    return sha256(json.dumps([_VERSION, *deciding]).encode("ascii")).hexdigest()
