"""Which of the built-in flowers' colours a picture of one shows: a vote of the pixels around its middle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HUES = {"red": 355, "orange": 28, "yellow": 47, "pink": 332, "purple": 271, "blue": 222}
"""The middle of each colour's petals, in degrees."""


def shown_colour(picture: NDArray[np.uint8]) -> str:
    """The colour of the flower in a square picture (side, side, 3)."""
    side = len(picture)
    y, x = (np.mgrid[:side, :side] + 0.5) * 2 / side - 1
    hue, saturation, value = _hsv(picture[x**2 + (y + 0.16) ** 2 < 0.3] / 255)
    apart = np.abs((hue[:, None] - np.array([*HUES.values()]) + 180) % 360 - 180)
    coloured = (saturation > 0.3) & (value > 0.5) & (apart.min(1) < 25)
    votes = np.bincount(apart.argmin(1)[coloured], minlength=len(HUES)).tolist()
    white = int(((saturation < 0.22) & (value > 0.68)).sum())
    return max(zip([*votes, white], [*HUES, "white"], strict=True))[1]


def _hsv(rgb: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Hue in degrees, saturation and value of pixels (n, 3) in [0, 1]."""
    high, low = rgb.max(1), rgb.min(1)
    spread = np.maximum(high - low, 1e-9)
    r, g, b = rgb.T
    sixth = np.where(high == r, (g - b) / spread % 6, np.where(high == g, (b - r) / spread + 2, (r - g) / spread + 4))
    return sixth * 60, spread / np.maximum(high, 1e-9), high
