"""Aspect-ratio buckets: a few sizes of about equal area, so that pictures are cropped little and never squeezed.

The idea is NovelAI's (https://github.com/NovelAI/novelai-aspect-ratio-bucketing): every batch holds one size, and
each picture is trained on at the size whose aspect ratio is nearest to its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from runner.errors import DataError

_LEAST_AREA = 0.75  # of the square's: a size that max_aspect cuts far below it would only blur its pictures


def bucket_sizes(resolution: int, *, step: int, max_aspect: float) -> list[tuple[int, int]]:
    """Sizes (height, width) from the widest to the tallest, the square in the middle.

    Sides are multiples of `step` in pixels, no area exceeds `resolution`², so that memory stays what the square needs,
    and no side is over `max_aspect` times the other. For each shorter side the longer one is as long as that allows; of
    sizes with one aspect ratio only the largest stays.

    Raises:
        DataError: a `step` larger than the resolution, which leaves no size.
    """
    if step > resolution:
        raise DataError(
            f"data.aspect_ratio_buckets.step is {step} and data.resolution {resolution}, which leaves no size: "
            "make the step smaller or the resolution larger"
        )
    square = resolution // step * step
    wide: list[tuple[int, int]] = []
    for short in range(square - step, 0, -step):
        long = int(min(resolution**2 / short, short * max_aspect)) // step * step
        widest = wide[-1] if wide else (square, square)
        if long * widest[0] > short * widest[1] and short * long >= _LEAST_AREA * square**2:
            wide.append((short, long))
    return [*reversed(wide), (square, square), *((long, short) for short, long in wide)]


def nearest(sizes: Sequence[tuple[int, int]], width: int, height: int) -> tuple[int, int]:
    """Of `sizes` (height, width) the one whose aspect ratio is nearest to that of a picture, by its logarithm."""
    return min(sizes, key=lambda size: abs(math.log(size[1] * height / (size[0] * width))))
