"""The canvas that the built-in flowers are painted on, with its few brushes: discs, petals, stems and domes.

Every edge is smooth by the signed distance to it, as in https://iquilezles.org/articles/distfunctions2d/.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from runner.data.shapes import STRAIGHT, Bend, Floats, Frame, Outline, Shade, clip, knots, nearness, widths

Colours = tuple[tuple[int, int, int], ...]  # sRGB, 0 to 255
Window = tuple[slice, slice]

_SHADES = 512
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
# The spirals that seeds seem to lie in: how many arms, and how far an arm drifts from one seed to the next.
_SPIRALS = [(arms, math.remainder(arms * _GOLDEN_ANGLE, math.tau)) for arms in (8, 13, 21, 34)]
_SEEDS = 240


@cache
def ramp(colours: Colours, depth: float = 1.0, tint: tuple[float, float, float] = (1, 1, 1)) -> Floats:
    """A table (_SHADES, 3) of colours in [0, 1] through evenly spaced ones, dark to light.

    Args:
        colours: the colours to pass.
        depth: an exponent: above 1 deepens the colours, below 1 makes them paler.
        tint: the light's colour, which multiplies them.
    """
    stops = (np.array(colours) / 255) ** depth * tint
    places = np.linspace(0, len(stops) - 1, _SHADES)
    return np.stack([np.interp(places, np.arange(len(stops)), channel) for channel in stops.T], axis=1).astype(
        np.float32
    )


def pick(table: Floats, light: Floats) -> Floats:
    """The ramp's colours for lightness values in [0, 1]: (..., 3)."""
    return table.take((light * (_SHADES - 1)).astype(np.intp), axis=0)


class Canvas:
    """A square picture being painted, in the space that `runner.data.shapes` describes.

    Attributes:
        rgb: (side, side, 3) in [0, 1], the top row first.
        cover: (side, side), how much of the flower lies on each pixel; only there do its parts throw shadows.
        x, y: coordinates of the pixels' middles, (1, side) and (side, 1).
        pixel: how wide one pixel is.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self.pixel = 2 / side
        self.x: Floats = ((np.arange(side, dtype=np.float32) + 0.5) * self.pixel - 1)[None, :]
        self.y: Floats = -self.x.T
        self.rgb: Floats = np.zeros((side, side, 3), np.float32)
        self.cover: Floats = np.zeros((side, side), np.float32)

    def blend(self, alpha: Floats, colour: Floats, window: Window = (slice(None), slice(None))) -> None:
        """Paint `colour`, one or one per pixel, over a window with the opacity `alpha`."""
        patch = self.rgb[window]
        patch += (colour - patch) * alpha[..., None]

    def disc(self, x: float, y: float, radius: float, colour: Floats, strength: float = 1.0, soft: float = 0.0) -> None:
        """A disc whose edge is `soft` wide (at least a pixel)."""
        window = self._window(x, y, radius + soft + self.pixel, radius + soft + self.pixel)
        distance = np.hypot(self.x[:, window[1]] - x, self.y[window[0]] - y) - radius
        alpha = clip(0.5 - distance / max(soft, self.pixel))
        self.blend(alpha * alpha * (3 - 2 * alpha) * strength, colour, window)

    def shape(self, frame: Frame, outline: Outline, table: Floats, shade: Shade, bend: Bend = STRAIGHT) -> None:
        """A petal or a leaf: first its shadow on the parts that lie there already, then itself."""
        middle = frame.at(0.5, 0, 0, 0.6, 1.05 + abs(bend.curve))
        wide, high = abs(middle.ax) + abs(middle.bx) + shade.spread, abs(middle.ay) + abs(middle.by) + shade.spread
        window = self._window(middle.ox, middle.oy, wide, high)
        u, v = self._local(frame, window)
        if bend.curve:
            v -= bend.curve * u * np.abs(u)
        knot = knots(u + bend.ripple * np.sin(v * bend.waves + bend.phase) * u * u if bend.ripple else u)
        beyond = np.abs(v) - widths(outline).take(knot, mode="clip")
        cover = self.cover[window]
        near = clip(1 - beyond * (frame.width / shade.spread))
        self._darken(near * near * cover * shade.shadow, table[0], window)
        steep = nearness(outline, round(frame.width / frame.length, 2))
        distance = beyond * (steep.take(knot, mode="clip") * frame.width)
        alpha = clip(0.5 - distance / self.pixel)
        self.blend(alpha, pick(table, shade.light(u, v, distance)), window)
        np.maximum(cover, alpha, out=cover)

    def stem(self, path: Callable[[Floats], Floats], top: float, width: float, table: Floats) -> None:
        """A round rod, `width` to each side of x = path(y), from the picture's foot up to y = top."""
        window = self._window(0, (top - 1) / 2, 1, (top + 1) / 2)
        v = (self.x - path(self.y[window[0]])) / width
        alpha = clip((1 - np.abs(v)) * (width / self.pixel) + 0.5)
        self.blend(alpha, pick(table, clip(0.5 - 0.3 * v - 0.15 * v * v)), window)
        np.maximum(self.cover[window], alpha, out=self.cover[window])

    def dome(self, frame: Frame, table: Floats, light: float, seeds: float) -> None:
        """A flower's bulging middle, the frame's unit circle, lit from the angle `light`.

        Seed n lies at n golden angles, at a distance that grows as sqrt(n) (Vogel's model of the sunflower): that is
        where the spirals of 8, 13, 21 and 34 arms cross. `seeds` is how clearly they show; they fade in coarse pixels.
        """
        wide, high = math.hypot(frame.ax, frame.bx) * 1.35, math.hypot(frame.ay, frame.by) * 1.35
        window = self._window(frame.ox, frame.oy, wide, high)
        u, v = self._local(frame, window)
        r = np.hypot(u, v)
        near = clip(1 - (r - 1) / 0.35)
        self._darken(near * near * self.cover[window] * 0.7, table[0], window)
        pixels = math.sqrt(abs(frame.area)) / self.pixel
        shade = 0.52 - 0.3 * r**6 + 0.22 * (u * math.cos(light) + v * math.sin(light)) - 0.2 * np.exp(-9 * r * r)
        angle, number = np.arctan2(v, u), _SEEDS * r * r
        for arms, drift in _SPIRALS:
            shade += seeds * min(1.0, pixels / 60) / len(_SPIRALS) * np.cos(arms * angle - drift * number)
        self.blend(clip((1 - r) * pixels + 0.5), pick(table, clip(shade)), window)

    def _darken(self, alpha: Floats, colour: Floats, window: Window) -> None:
        """Shadow of the opacity `alpha`: it takes away least of `colour`, so that what it falls on stays colourful."""
        kept = colour * (0.36 / colour.max())
        self.rgb[window] *= 1 - alpha[..., None] * (1 - kept)

    def _window(self, x: float, y: float, wide: float, high: float) -> Window:
        """The pixels within `wide` and `high` of (x, y); none where that lies outside the picture."""
        return self._span(-y - high, -y + high), self._span(x - wide, x + wide)

    def _span(self, low: float, high: float) -> slice:
        return slice(max(0, int((low + 1) / self.pixel)), max(0, int((high + 1) / self.pixel) + 1))

    def _local(self, frame: Frame, window: Window) -> tuple[Floats, Floats]:
        """The pixels of a window in a frame's coordinates."""
        dx, dy = self.x[:, window[1]] - frame.ox, self.y[window[0]] - frame.oy
        u = dx * (frame.by / frame.area) - dy * (frame.bx / frame.area)
        v = dy * (frame.ax / frame.area) - dx * (frame.ay / frame.area)
        return u, v
