"""One look at a picture: its crop, mirror image and colours, and what SDXL is told of its sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from runner.data.cache import Pictures
from runner.data.transforms import Pixels, augment

_KEYS = ("center_crop", "random_flip", "color_jitter")


class View(NamedTuple):
    """A picture as one sample shows it.

    Attributes:
        pixels: uint8 (h, w, 3); may be a view of the prepared picture.
        flipped: whether it is mirrored.
        sizes: as a row of `Batch.sizes`.
    """

    pixels: Pixels
    flipped: bool
    sizes: tuple[int, ...]


class Views:
    """The looks at prepared pictures that the augmentation of a resolved `data` section allows.

    Attributes:
        augmentation: the keys of the section that decide them.
    """

    def __init__(self, pictures: Pictures, data: Mapping[str, Any]) -> None:
        self.pictures = pictures
        # Built-in flowers have no crop to choose, and jitter is a group that may be absent.
        self.augmentation = {"center_crop": True, "color_jitter": None} | {k: data[k] for k in _KEYS if k in data}

    def drawn(self, index: int, rng: np.random.Generator, *, colours: bool = True) -> View:
        """A look that `rng` chooses; without `colours` it is the same but for those."""
        array, (height, width) = self.pictures[index], self._size(index)
        chosen = self.augmentation if colours else {**self.augmentation, "color_jitter": None}
        pixels, top, left, flipped = augment(array, rng, height=height, width=width, **chosen)
        if array.shape[:2] == (height, width):
            top, left = self.pictures.crops[index].tolist()
        elif flipped:
            left = array.shape[1] - width - left
        return self._view(index, pixels, flipped, top, left)

    def plain(self, index: int) -> View:
        """The middle of the picture as it is."""
        array, (height, width) = self.pictures[index], self._size(index)
        top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
        return self._view(index, array[top : top + height, left : left + width], False, *self.pictures.crops[index])

    def cut_at_random(self) -> bool:
        """Whether any picture is larger than what is cut out of it at random."""
        if self.augmentation["center_crop"]:
            return False
        return any(self.pictures[i].shape[:2] != self._size(i) for i in range(len(self.pictures)))

    def _size(self, index: int) -> tuple[int, int]:
        height, width = self.pictures.sizes[index].tolist()
        return height, width

    def _view(self, index: int, pixels: Pixels, flipped: bool, top: int, left: int) -> View:
        width, height = self.pictures.original_sizes[index].tolist()
        return View(pixels, flipped, (height, width, int(top), int(left), *self._size(index)))
