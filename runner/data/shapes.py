"""The shapes that the built-in flowers are made of: where one lies, its outline, its bends, how light falls on it.

Space is the square [-1, 1] x [-1, 1], x to the right and y upwards, whatever the resolution. A shape's own coordinates
are u along it, from 0 at its base to 1 at its tip, and v across it, where 1 is its greatest half-width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

_KNOTS = 2048  # entries of an outline's tables, which span u in [-_MARGIN, 1 + _MARGIN]
_MARGIN = 0.25


@dataclass(frozen=True)
class Frame:
    """A shape's own axes in the picture: its point (u, v) lies at o + u a + v b."""

    ox: float
    oy: float
    ax: float
    ay: float
    bx: float
    by: float

    @property
    def area(self) -> float:
        """The signed area that the two axes span."""
        return self.ax * self.by - self.ay * self.bx

    @property
    def length(self) -> float:
        """How far apart the lines u = 0 and u = 1 lie in the picture."""
        return abs(self.area) / math.hypot(self.bx, self.by)

    @property
    def width(self) -> float:
        """How far apart the lines v = 0 and v = 1 lie in the picture."""
        return abs(self.area) / math.hypot(self.ax, self.ay)

    @classmethod
    def head(cls, x: float, y: float, radius: float, turn: float, squash: float) -> Frame:
        """A flower's face: a circle of `radius` turned by `turn` radians, then flattened by `squash`."""
        c, s = math.cos(turn) * radius, math.sin(turn) * radius
        return cls(x, y, c, s * squash, -s, c * squash)

    def at(self, x: float, y: float, angle: float, length: float, width: float) -> Frame:
        """The frame of a part at this one's point (x, y), pointing to `angle`, with sizes in this one's units."""
        c, s = math.cos(angle), math.sin(angle)
        return Frame(
            self.ox + x * self.ax + y * self.bx,
            self.oy + x * self.ay + y * self.by,
            (c * self.ax + s * self.bx) * length,
            (c * self.ay + s * self.by) * length,
            (c * self.bx - s * self.ax) * width,
            (c * self.by - s * self.ay) * width,
        )

    def ray(self, angle: float, start: float, length: float, width: float) -> Frame:
        """The frame of a part that points away from this one's origin, beginning at the distance `start`."""
        return self.at(math.cos(angle) * start, math.sin(angle) * start, angle, length, width)


@dataclass(frozen=True)
class Outline:
    """Half-width u^base (1 - u)^tip, scaled to at most 1: an exponent of 0.5 ends round, 1 and more end in a point."""

    base: float
    tip: float


@dataclass(frozen=True)
class Bend:
    """How a shape leaves its straight outline."""

    curve: float = 0.0  # sideways, growing as u squared, in half-widths at the tip
    ripple: float = 0.0  # the tip's waves, as a part of the length
    waves: float = 5.0
    phase: float = 0.0


STRAIGHT = Bend()


@dataclass(frozen=True)
class Shade:
    """How light a shape is (0 dark, 1 light) along it, across it and at its edge, and what shadow it throws."""

    base: float = 0.2
    tip: float = 0.7
    across: float = 0.0  # lighter towards +v, darker towards -v
    round: float = 0.15  # darker towards both sides, as a bulging thing is
    rim: float = 0.15  # light along the edge
    vein: float = 0.0  # a light (below 0: dark) line down the middle
    streak: float = 0.0  # fine lines along it
    shadow: float = 0.5  # how dark its shadow is on the parts beneath
    spread: float = 0.06  # how far the shadow reaches, in picture units

    def light(self, u: Floats, v: Floats, distance: Floats) -> Floats:
        """Lightness in [0, 1) at shape coordinates (u, v) that lie `distance` outside the outline."""
        light = self.base + (self.tip - self.base) * u
        if self.across:
            light += self.across * v
        if self.round:
            light -= self.round * v * v
        if self.rim:
            light += self.rim * clip(1 + distance * 25)
        if self.vein:
            light += self.vein / (1 + 60 * v * v) * (1 - u)
        if self.streak:
            light += self.streak * np.sin(v * 17) * np.sin(u * 2.8)
        return clip(light)


def clip(values: Floats) -> Floats:
    """`values` held within [0, 1], in place (np.clip takes longer to start than a small petal takes to clip)."""
    np.maximum(values, 0, out=values)
    return np.minimum(values, 1, out=values)


def knots(u: Floats) -> NDArray[np.intp]:
    """Where u stands in an outline's tables; places beyond their ends are for `take(mode="clip")` to hold."""
    return ((u + _MARGIN) * ((_KNOTS - 1) / (1 + 2 * _MARGIN))).astype(np.intp)


@cache
def widths(outline: Outline) -> Floats:
    """The half-width at each knot, (_KNOTS,); below 0 beyond the ends, by about the distance to them in half-widths."""
    u = np.linspace(-_MARGIN, 1 + _MARGIN, _KNOTS)
    inside = np.clip(u, 0, 1)
    base, tip = outline.base, outline.tip
    peak = base / (base + tip)
    width = inside**base * (1 - inside) ** tip / (peak**base * (1 - peak) ** tip)
    return (width - 8 * np.abs(u - inside)).astype(np.float32)


@cache
def nearness(outline: Outline, slenderness: float) -> Floats:
    """1 / |grad f| of f = |v| - width(u) at each knot, (_KNOTS,): f times this is the distance, to first order.

    A round end is infinitely steep there, which would bring all that lies beside it far too near: hence the bound, at
    which a place beside the end, half as far out as the shape is wide, gets about its true distance.

    Args:
        outline: whose widths.
        slenderness: half-width by length.
    """
    steepest = 3 * 2 ** (1 / min(outline.base, outline.tip))
    slope = np.clip(np.gradient(widths(outline), (1 + 2 * _MARGIN) / (_KNOTS - 1)), -steepest, steepest)
    return (1 / np.hypot(1, slope * slenderness)).astype(np.float32)
