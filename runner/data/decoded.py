"""Decodes the pictures of a source at their training size: by all processes, for one that keeps them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.data.buckets import nearest
from runner.data.decode import blamed, none_usable, to_rgb
from runner.data.source import Entry, Item, Place, Source, fetch
from runner.data.store import Store, Writer
from runner.data.transforms import Pixels, fit, require_thick
from runner.data.workers import in_order, together
from runner.errors import EnvironmentFault
from runner.shown import shown
from runner.tally import gibibytes

if TYPE_CHECKING:
    from runner.processes.world import World
    from runner.progress import Progress

_TOGETHER = 2**24  # bytes of pixels that a process hands on at a time
_MOST = 256  # pictures


class Fitted(NamedTuple):
    """A picture at its training size; where `pixels` is None it cannot be used, for this `reason`."""

    place: Place
    item: Item
    pixels: Pixels | None
    original: tuple[int, int]
    target: tuple[int, int]
    reason: str


def decoded(
    source: Source, choices: Mapping[str, Any], targets: list[tuple[int, int]], progress: Progress, world: World
) -> Iterator[list[Fitted]]:
    """The first `max_images` pictures, some at a time and in any order: in the main process (see `World.gathered`).

    Args:
        source: not fetched yet.
        choices: the resolved `data` section, every key that decides pixels filled.
        targets: the sizes (height, width) that training may see.

    Raises:
        EnvironmentFault: the machine fails while reading. What the source raises.
    """
    fetch(source, progress, world)
    work = partial(
        _fitted,
        background=choices["background"],
        targets=targets,
        interpolation=choices["interpolation"],
        center_crop=choices["center_crop"],
    )
    done = in_order(work, source.part(world.rank, world.count, choices["max_images"]), by_all=True)
    # A message to another process has its price; alone, each picture is told of at once.
    most = max(1, min(_MOST, _TOGETHER // (3 * choices["resolution"] ** 2))) if world.count > 1 else 1
    return world.gathered(together(done, most))


def written(
    done: Iterator[list[Fitted]], source: Source, choices: Mapping[str, Any], place: Path, progress: Progress
) -> Store:
    """The store at `place`, which holds what is `done`.

    Raises:
        DataError: no picture can be used. EnvironmentFault: the disk is full or refuses.
    """
    root, total = place.parent, source.first(choices["max_images"])
    with Writer(root) as writer:
        _check_space(root, total, choices["resolution"])
        with progress.bar("Reading pictures", total, unit="picture") as bar:
            for pictures in done:
                for picture in pictures:
                    _keep(writer, picture)
                bar.advance(len(pictures))
        if not writer.used:
            raise none_usable(writer.skipped)
        store = Store.open(writer.keep(place.name, source.classes))
    if store is None:
        raise EnvironmentFault(
            f"the picture cache in {shown(root, 1000)} is damaged right after writing: check the disk"
        )
    return store


def _keep(writer: Writer, picture: Fitted) -> None:
    if picture.pixels is None:
        writer.skip(picture.place, picture.item, picture.reason)
    else:
        writer.add(picture.place, picture.item, picture.pixels, picture.original, picture.target)


def _fitted(
    placed: tuple[Place, Entry],
    *,
    background: str,
    targets: list[tuple[int, int]],
    interpolation: str,
    center_crop: bool,
) -> Fitted:
    place, (item, load) = placed
    try:
        image = to_rgb(load(), background)
        require_thick(*image.size)
        target = nearest(targets, *image.size)
        pixels = fit(image, height=target[0], width=target[1], interpolation=interpolation, center_crop=center_crop)
        return Fitted(place, item, pixels, image.size, target, "")
    except Exception as error:  # pillow raises nearly anything on broken files
        return Fitted(place, item, None, (0, 0), (0, 0), blamed(item.name, error))


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
