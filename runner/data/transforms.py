"""How a picture becomes the square that the model sees: what is done once, and what is drawn anew each time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from runner.data.decode import BadPicture

Pixels = NDArray[np.uint8]

MAX_ASPECT = 8
"""A picture whose longer side is over this many times its shorter one is too thin to crop a square from."""

_FILTERS = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}


def fit(image: Image.Image, *, resolution: int, interpolation: str, center_crop: bool) -> Pixels:
    """The part of an RGB picture that training can see, scaled in one antialiased step.

    Returns:
        uint8 (resolution, resolution, 3), the middle square, with `center_crop`; else the whole picture with its
        shorter side at `resolution`, (h, w, 3), for crops at random places.

    Raises:
        BadPicture: too thin.
    """
    width, height = image.size
    short = min(width, height)
    if max(width, height) > MAX_ASPECT * short:
        raise BadPicture(f"is too thin ({width} x {height}, over {MAX_ASPECT} to 1)")
    if center_crop:
        left, top = (width - short) // 2, (height - short) // 2
        size, box = (resolution, resolution), (left, top, left + short, top + short)
    else:
        size, box = (round(width * resolution / short), round(height * resolution / short)), (0, 0, width, height)
    return np.asarray(image.resize(size, _FILTERS[interpolation], box=box))


def augment(
    array: Pixels,
    rng: np.random.Generator,
    *,
    resolution: int,
    center_crop: bool,
    random_flip: bool,
    color_jitter: dict[str, Any] | None,
) -> Pixels:
    """One sample of a prepared picture: crop, mirror image and colours drawn from `rng`.

    Args:
        array: uint8 (h, w, 3), as `fit` returns it.
        color_jitter: `brightness`, `contrast`, `saturation` and `hue`, each a half-width; None leaves colours alone.

    Returns:
        uint8 (resolution, resolution, 3); may be a view of `array`.
    """
    if not center_crop:
        height, width = array.shape[:2]
        top = int(rng.integers(height - resolution + 1))
        left = int(rng.integers(width - resolution + 1))
        array = array[top : top + resolution, left : left + resolution]
    if random_flip and rng.random() < 0.5:
        array = array[:, ::-1]
    if color_jitter is not None:
        array = _jitter(array, rng, **color_jitter)
    return array


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
