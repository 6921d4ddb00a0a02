"""How a picture gets the size that the model sees: what is done once, and what is drawn anew each time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from runner.data.decode import BadPicture

Pixels = NDArray[np.uint8]

MAX_ASPECT = 8
"""A picture whose longer side is over this many times its shorter one is too thin to crop from."""

_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}


def require_thick(width: int, height: int) -> None:
    """A picture that a size can be cropped from.

    Raises:
        BadPicture: too thin.
    """
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadPicture(f"is too thin ({width} x {height}, over {MAX_ASPECT} to 1)")


def covering(original: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Height and width of a picture of `original` (height, width), scaled so that it just covers `height` x `width`."""
    high, wide = original
    if wide * height >= high * width:
        return height, round(wide * height / high)
    return round(high * width / wide), width


def fit(image: Image.Image, *, height: int, width: int, interpolation: str, center_crop: bool) -> Pixels:
    """The part of an RGB picture that training can see, scaled in one antialiased step and never squeezed.

    Returns:
        uint8 (height, width, 3), the middle of the picture, with `center_crop`; else the whole picture, which just
        covers that size, for crops at random places.

    Raises:
        BadPicture: too thin.
    """
    wide, high = image.size
    require_thick(wide, high)
    if not center_crop:
        size = covering((high, wide), height, width)[::-1]
        return np.asarray(image.resize(size, _FILTERS[interpolation]))
    part_wide, part_high = min(wide, high * width / height), min(high, wide * height / width)
    left, top = (wide - part_wide) // 2, (high - part_high) // 2
    box = (left, top, left + part_wide, top + part_high)
    return np.asarray(image.resize((width, height), _FILTERS[interpolation], box=box))


def augment(
    array: Pixels,
    rng: np.random.Generator,
    *,
    height: int,
    width: int,
    center_crop: bool,
    random_flip: bool,
    color_jitter: dict[str, Any] | None,
) -> tuple[Pixels, int, int, bool]:
    """One sample of a prepared picture: crop, mirror image and colours drawn from `rng`, in this order.

    Args:
        array: uint8 (h, w, 3), as `fit` returns it for this height and width.
        color_jitter: `brightness`, `contrast`, `saturation` and `hue`, each a half-width; None leaves colours alone.

    Returns:
        The pixels, uint8 (height, width, 3), which may be a view of `array`; top and left of the crop in `array`; and
        whether they are mirrored.
    """
    top = left = 0
    if not center_crop:
        high, wide = array.shape[:2]
        top = int(rng.integers(high - height + 1))
        left = int(rng.integers(wide - width + 1))
        array = array[top : top + height, left : left + width]
    flipped = random_flip and bool(rng.random() < 0.5)
    if flipped:
        array = array[:, ::-1]
    if color_jitter is not None:
        array = _jitter(array, rng, **color_jitter)
    return array, top, left, flipped


def _jitter(
    array: Pixels, rng: np.random.Generator, *, brightness: float, contrast: float, saturation: float, hue: float
) -> Pixels:
    """Colours changed as torchvision's ColorJitter does on PIL pictures, in the fixed order of the arguments."""
    image = Image.fromarray(np.ascontiguousarray(array))
    changes = (
        (ImageEnhance.Brightness, brightness),
        (ImageEnhance.Contrast, contrast),
        (ImageEnhance.Color, saturation),
    )
    for change, width in changes:
        if width:
            image = change(image).enhance(rng.uniform(1 - width, 1 + width))
    if hue:
        h, s, v = image.convert("HSV").split()
        turn = round(256 * rng.uniform(-hue, hue))
        h = h.point([(x + turn) % 256 for x in range(256)])
        image = Image.merge("HSV", (h, s, v)).convert("RGB")
    return np.asarray(image)
