"""`data.type: builtin`: any number of pictures of flowers, drawn here at any resolution, with captions and labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import count, islice
from typing import Any, overload

import numpy as np
from PIL import Image

from runner.data import backdrops, flowers
from runner.data.brush import Canvas
from runner.data.scene import COLOURS, KINDS, Dice, Scene, scene
from runner.data.source import Item, Listed

__all__ = ["COLOURS", "DRAWING_VERSION", "KINDS", "Builtin", "Scene", "draw", "scene"]

DRAWING_VERSION = 1  # counted up whenever the pixels, the caption or the label of any index change
_BACKDROP, _FLOWER = 1, 2  # streams of random numbers, beside the scenes' own


def draw(scene: Scene, resolution: int) -> Image.Image:
    """The picture of a scene: RGB, `resolution` pixels wide and high; the same scene at every resolution."""
    backdrop = Canvas(resolution)
    backdrops.paint(backdrop, scene.background, Dice(_BACKDROP, scene.index))
    finer = 2 if resolution <= 512 else 1  # edges are smooth by themselves, but for petals thinner than a pixel
    canvas = Canvas(resolution * finer)
    canvas.rgb = backdrop.rgb.repeat(finer, axis=0).repeat(finer, axis=1)
    flowers.paint(canvas, scene, Dice(_FLOWER, scene.index))
    backdrop.rgb = canvas.rgb.reshape(resolution, finer, resolution, finer, 3).mean(axis=(1, 3))
    backdrops.vignette(backdrop)
    return Image.fromarray((np.clip(backdrop.rgb, 0, 1) * 255 + 0.5).astype(np.uint8))


class _Items(Sequence[Item]):
    """What is known of each flower, made when asked for: a data set of millions opens at once."""

    def __init__(self, numbers: Sequence[int], label_by: str, classes: list[str]) -> None:
        self._numbers, self._label_by, self._classes = numbers, label_by, classes

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        numbers = self._numbers[index]
        return self._item(numbers) if isinstance(numbers, int) else [self._item(number) for number in numbers]

    def _item(self, number: int) -> Item:
        flower = scene(number)
        return Item(f"flower {number}", flower.caption, self._classes.index(getattr(flower, self._label_by)))


class Builtin(Listed):
    """The first `num_images` flowers of some kinds.

    Args:
        num_images: how many pictures there are.
        kinds: of which kinds; None for all.
        resolution: their width and height in pixels.
        label_by: what a picture's label says: its flower's "kind" or its "colour".
    """

    def __init__(self, *, num_images: int, kinds: list[str] | None, resolution: int, label_by: str) -> None:
        self.classes = list({"kind": KINDS, "colour": COLOURS}[label_by])
        self._numbers: Sequence[int] = range(num_images)
        made_of: list[Any] = ["builtin", DRAWING_VERSION, num_images, resolution, label_by]
        if kinds is not None:
            self._numbers = list(islice((i for i in count() if scene(i).kind in kinds), num_images))
            made_of.append(sorted(set(kinds)))
        self.items = _Items(self._numbers, label_by, self.classes)
        self.fingerprint = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
        self._resolution = resolution

    def picture(self, index: int) -> Image.Image:
        """The picture of `items[index]`, RGB."""
        return draw(scene(self._numbers[index]), self._resolution)
