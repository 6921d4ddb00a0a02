"""The brushes that the built-in flowers are painted with: soft-edged shapes on a picture of floats.

Space is the square [-1, 1] x [-1, 1], x to the right and y upwards, whatever the resolution. A shape is a `Frame` (where
its own axes lie in the picture) and an outline (its half-width along its length). Its signed distance gives the edge,
the shadow around it and the light along it (the idea is that of https://iquilezles.org/articles/distfunctions2d/).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Floats = NDArray[np.float32]
Window = tuple[slice, slice]
Stops = Sequence[tuple[int, int, int]]  # sRGB colours, 0 to 255, evenly spaced

_KNOTS = 2048  # entries of an outline's table, which spans u in [-_MARGIN, 1 + _MARGIN]
_MARGIN = 0.25
_SHADES = 512  # entries of a ramp


class Dice:
    """Counter-based randomness: a key's throws are the same on every machine, whatever else was drawn before."""

    def __init__(self, stream: int, index: int) -> None:
        self._generator = np.random.Generator(np.random.Philox(key=np.array([stream, index], dtype=np.uint64)))

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * float(self._generator.random())

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._generator.random() * (high - low + 1))

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices, each as likely."""
        return choices[int(self._generator.random() * len(choices))]


@dataclass(frozen=True)
class Frame:
    """A shape's own axes in the picture: the point (u, v) lies at o + u a + v b."""

    ox: float
    oy: float
    ax: float
    ay: float
    bx: float
    by: float

    @property
    def size(self) -> float:
        """The (signed) area of the parallelogram that u and v span."""
        return self.ax * self.by - self.ay * self.bx

    @property
    def length(self) -> float:
        """How far apart u = 0 and u = 1 lie in the picture."""
        return abs(self.size) / math.hypot(self.bx, self.by)

    @property
    def width(self) -> float:
        """How far apart v = 0 and v = 1 lie in the picture."""
        return abs(self.size) / math.hypot(self.ax, self.ay)

    @classmethod
    def head(cls, x: float, y: float, radius: float, turn: float = 0.0, squash: float = 1.0) -> "Frame":
        """A flower's face: a circle of `radius`, turned by `turn` radians, then seen from above by `squash`."""
        c, s = math.cos(turn) * radius, math.sin(turn) * radius
        return cls(x, y, c, s * squash, -s, c * squash)

    def at(self, x: float, y: float, angle: float, length: float, width: float) -> "Frame":
        """The frame of a part at (x, y) of this one: u points to `angle` (radians), lengths are in this one's units."""
        c, s = math.cos(angle), math.sin(angle)
        return Frame(
            self.ox + x * self.ax + y * self.bx,
            self.oy + x * self.ay + y * self.by,
            (c * self.ax + s * self.bx) * length,
            (c * self.ay + s * self.by) * length,
            (c * self.bx - s * self.ax) * width,
            (c * self.by - s * self.ay) * width,
        )

    def ray(self, angle: float, start: float, length: float, width: float) -> "Frame":
        """The frame of a petal that points away from the middle, beginning at the distance `start`."""
        return self.at(math.cos(angle) * start, math.sin(angle) * start, angle, length, width)


@dataclass(frozen=True)
class Shade:
    """Where on its ramp (0 dark, 1 light) a shape lies: along its length, across it and at its edge."""

    base: float = 0.2
    tip: float = 0.7
    across: float = 0.0  # lighter towards +v, darker towards -v
    round: float = 0.15  # darker towards both sides, as a bulging thing is
    rim: float = 0.15  # light along the edge
    vein: float = 0.0  # light (or, below 0, dark) line down the middle
    streak: float = 0.0  # fine lines along the length
    shadow: float = 0.5  # how dark the shadow on what lies beneath
    spread: float = 0.06  # and how far it reaches


@dataclass(frozen=True)
class Bend:
    """How a shape leaves its straight outline."""

    curve: float = 0.0  # sideways, growing as u squared, in widths
    ripple: float = 0.0  # the far edge's waves, as a part of the length
    waves: float = 5.0
    phase: float = 0.0


STRAIGHT = Bend()


@cache
def outline(base: float, tip: float) -> tuple[Floats, Floats]:
    """Half-width u^base (1-u)^tip, scaled to at most 1, and its slope; 0.5 ends round, 1 and more end in a point."""
    u = np.linspace(-_MARGIN, 1 + _MARGIN, _KNOTS)
    inside = np.clip(u, 0, 1)
    peak = base / (base + tip)
    width = inside**base * (1 - inside) ** tip / (peak**base * (1 - peak) ** tip)
    width -= 8 * np.abs(u - inside)  # beyond its ends the shape is further away than beside it, in widths
    slope = np.clip(np.gradient(width, u), -4, 4)  # a round end is infinitely steep, which would make it far too near
    return width.astype(np.float32), slope.astype(np.float32)


def ramp(stops: Stops, tint: tuple[float, float, float] = (1, 1, 1)) -> Floats:
    """A table (_SHADES, 3) of colours in [0, 1] through the stops, each multiplied by the light's `tint`."""
    colours = np.array(stops, dtype=np.float64) * tint / 255
    places = np.linspace(0, len(stops) - 1, _SHADES)
    table = np.stack([np.interp(places, np.arange(len(stops)), colours[:, c]) for c in range(3)], axis=1)
    return np.clip(table, 0, 1).astype(np.float32)


class Canvas:
    """A picture being painted.

    Attributes:
        rgb: (side, side, 3) float32 in [0, 1], first row on top.
        cover: (side, side), how much of the flower lies on each pixel: only there do its parts cast shadows.
        x, y: coordinates of the pixels' middles, (1, side) and (side, 1).
        pixel: a pixel's width.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self.pixel = 2 / side
        self.x: Floats = ((np.arange(side, dtype=np.float32) + 0.5) * self.pixel - 1)[None, :]
        self.y: Floats = -self.x.T
        self.rgb: Floats = np.zeros((side, side, 3), np.float32)
        self.cover: Floats = np.zeros((side, side), np.float32)

    def window(self, left: float, right: float, bottom: float, top: float) -> Window | None:
        """The pixels of a box, or None where it lies outside the picture."""
        first, last = self._span(left, right)
        upper, lower = self._span(-top, -bottom)
        if first >= last or upper >= lower:
            return None
        return slice(upper, lower), slice(first, last)

    def _span(self, low: float, high: float) -> tuple[int, int]:
        return max(0, int((low + 1) / self.pixel)), min(self.side, int((high + 1) / self.pixel) + 1)

    def blend(self, window: Window, alpha: Floats, colour: Floats) -> None:
        """Paint `colour`, one or one per pixel, over the window."""
        patch = self.rgb[window]
        patch += (colour - patch) * alpha[..., None]

    def disc(self, x: float, y: float, radius: float, colour: Floats, strength: float = 1.0, soft: float = 0.0) -> None:
        """A disc whose edge is `soft` wide (at least a pixel)."""
        reach = radius + soft + self.pixel
        window = self.window(x - reach, x + reach, y - reach, y + reach)
        if window is None:
            return
        distance = np.hypot(self.x[:, window[1]] - x, self.y[window[0]] - y) - radius
        alpha = np.clip(0.5 - distance / max(soft, self.pixel), 0, 1)
        self.blend(window, alpha * alpha * (3 - 2 * alpha) * strength, colour)

    def shape(
        self,
        frame: Frame,
        profile: tuple[Floats, Floats],
        colours: Floats,
        shade: Shade,
        bend: Bend = STRAIGHT,
        soft: float = 0.0,
    ) -> None:
        """Paint a petal, a leaf or a blade: its shadow on the flower's other parts first, then itself."""
        spread = shade.spread
        window = self._around(frame, spread + soft, abs(bend.curve))
        if window is None:
            return
        u, v = self._local(frame, window)
        if bend.curve:
            v -= bend.curve * u * np.abs(u)
        end = u + bend.ripple * np.sin(v * bend.waves + bend.phase) * u * u if bend.ripple else u
        knot = ((end + _MARGIN) * ((_KNOTS - 1) / (1 + 2 * _MARGIN))).astype(np.intp)
        beyond = np.abs(v) - profile[0].take(knot, mode="clip")
        cover = self.cover[window]
        if shade.shadow:
            near = np.clip(1 - beyond * (frame.width / spread), 0, 1)
            self.blend(window, near * near * cover * shade.shadow, colours[0] * 0.6)
        distance = beyond * self._scale(frame, profile[1]).take(knot, mode="clip")
        alpha = np.clip(0.5 - distance / max(soft, self.pixel), 0, 1)
        light = self._light(shade, u, v, distance)
        self.blend(window, alpha, colours.take((light * _SHADES).astype(np.intp), axis=0, mode="clip"))
        np.maximum(cover, alpha, out=cover)

    def _around(self, frame: Frame, reach: float, curve: float) -> Window | None:
        wide = 1.05 + curve
        sides = (frame.bx * wide, frame.by * wide)
        xs = [frame.ox + u * frame.ax + v * sides[0] for u in (-0.05, 1.1) for v in (-1, 1)]
        ys = [frame.oy + u * frame.ay + v * sides[1] for u in (-0.05, 1.1) for v in (-1, 1)]
        return self.window(min(xs) - reach, max(xs) + reach, min(ys) - reach, max(ys) + reach)

    def _local(self, frame: Frame, window: Window) -> tuple[Floats, Floats]:
        dx, dy = self.x[:, window[1]] - frame.ox, self.y[window[0]] - frame.oy
        u = dx * (frame.by / frame.size) - dy * (frame.bx / frame.size)
        v = dy * (frame.ax / frame.size) - dx * (frame.ay / frame.size)
        return u, v

    def _scale(self, frame: Frame, slope: Floats) -> Floats:
        """1 / |grad f| of f = |v| - width(u), for each knot: f times this is the distance to the outline, to first order."""
        return 1 / np.sqrt(frame.width**-2 + slope * slope * frame.length**-2)

    def _light(self, shade: Shade, u: Floats, v: Floats, distance: Floats) -> Floats:
        light = shade.base + (shade.tip - shade.base) * u
        if shade.across:
            light += shade.across * v
        if shade.round:
            light -= shade.round * v * v
        if shade.rim:
            light += shade.rim * np.clip(1 + distance * 25, 0, 1)
        if shade.vein:
            light += shade.vein / (1 + 60 * v * v) * (1 - u)
        if shade.streak:
            light += shade.streak * np.sin(v * 17) * np.sin(u * 2.8)
        return np.clip(light, 0, 0.999)

    def dome(self, frame: Frame, colours: Floats, light: float, seeds: float) -> None:
        """A round, bulging middle: the unit circle of the frame, lit from the angle `light`.

        Its seeds lie in 21 and 13 crossing spirals, two neighbours in Fibonacci's row as in nature; they fade where a pixel is
        too coarse for them.
        """
        reach = max(abs(frame.ax) + abs(frame.bx), abs(frame.ay) + abs(frame.by)) * 1.35
        window = self.window(frame.ox - reach, frame.ox + reach, frame.oy - reach, frame.oy + reach)
        if window is None:
            return
        u, v = self._local(frame, window)
        r = np.hypot(u, v)
        size = math.sqrt(abs(frame.size))
        near = np.clip(1 - (r - 1) / 0.35, 0, 1)
        self.blend(window, near * near * self.cover[window] * 0.6, colours[0])
        angle = np.arctan2(v, u)
        spirals = np.cos(21 * angle + 16 * r) * np.cos(13 * angle - 22 * r)
        fine = min(1.0, size / self.pixel / 60)
        shade = 0.52 - 0.3 * r**6 + 0.22 * (u * math.cos(light) + v * math.sin(light)) + seeds * fine * spirals * np.clip(r * 2, 0, 1)
        shade = np.clip(shade - 0.2 * np.exp(-(r * 3) ** 2), 0, 0.999)
        alpha = np.clip((1 - r) * (size / self.pixel) + 0.5, 0, 1)
        self.blend(window, alpha, colours.take((shade * _SHADES).astype(np.intp), axis=0))
