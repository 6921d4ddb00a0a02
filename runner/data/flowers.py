"""How each kind of built-in flower is painted: stem, leaves and head, from the back to the front."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from runner.data.brush import Bend, Canvas, Dice, Floats, Frame, Shade, Stops, outline, ramp

# Five stops from shadow to light; every stop of a colour is still that colour to the eye.
PETALS: dict[str, Stops] = {
    "red": ((70, 0, 18), (142, 6, 26), (208, 22, 36), (238, 56, 52), (255, 130, 112)),
    "orange": ((122, 36, 0), (196, 74, 0), (242, 118, 12), (255, 152, 44), (255, 204, 128)),
    "yellow": ((150, 92, 0), (214, 150, 0), (250, 200, 20), (255, 222, 70), (255, 244, 170)),
    "pink": ((128, 14, 76), (196, 46, 124), (238, 98, 166), (252, 150, 198), (255, 214, 232)),
    "purple": ((40, 8, 84), (78, 26, 138), (126, 58, 190), (164, 104, 222), (214, 178, 246)),
    "blue": ((8, 18, 96), (18, 44, 158), (36, 84, 220), (84, 138, 246), (168, 204, 255)),
    "white": ((116, 120, 148), (176, 180, 204), (222, 224, 238), (246, 246, 250), (255, 255, 255)),
}
_GREEN: Stops = ((12, 44, 20), (28, 84, 34), (62, 132, 52), (118, 178, 78), (190, 222, 132))
_BLUISH_GREEN: Stops = ((10, 46, 36), (26, 86, 62), (60, 132, 90), (120, 180, 128), (196, 226, 184))
_GOLD: Stops = ((110, 52, 0), (190, 108, 0), (240, 170, 10), (255, 206, 50), (255, 240, 140))
_SEEDS: Stops = ((22, 10, 6), (50, 26, 12), (92, 50, 18), (140, 84, 28), (206, 146, 58))
_DARK: Stops = ((12, 6, 18), (26, 16, 34), (52, 38, 60), (90, 76, 96), (150, 140, 150))
_UP = math.pi / 2
_GOLDEN = math.pi * (3 - math.sqrt(5))


@dataclass(frozen=True)
class Look:
    """What one flower's parts share: colours, petal count, where the light comes from (an angle) and its tint."""

    petals: int
    stops: Stops
    light: float
    tint: tuple[float, float, float]
    dice: Dice

    def lit(self, shade: Shade, angle: float, amount: float = 0.1) -> Shade:
        """`shade`, lighter where a petal points to the light and darker where it points away."""
        more = amount * math.cos(angle - self.light)
        across = shade.across + 0.1 * math.sin(self.light - angle)
        return replace(shade, base=shade.base + more / 2, tip=shade.tip + more, across=across)

    def ramp(self, stops: Stops) -> Floats:
        """The colours of a part under this light."""
        return ramp(stops, self.tint)


def _tulip(canvas: Canvas, head: Frame, look: Look) -> None:
    dice, colours = look.dice, look.ramp(look.stops)
    cup, splay = outline(0.6, 0.78), dice.between(0.14, 0.24)
    back = look.petals - 3
    for i in range(back):
        lean = (i - (back - 1) / 2) * 0.4 + dice.between(-0.05, 0.05)
        shade = Shade(base=-0.1, tip=0.5, round=0.2, rim=0.14, shadow=0.4)
        canvas.shape(head.at(0, -0.6, _UP - lean, dice.between(1.5, 1.62), 0.44), cup, colours, shade)
    first = dice.pick((-1, 1))
    for side in (first, -first):
        angle = _UP + side * splay
        shade = Shade(base=0.12, tip=0.72, round=0.18, rim=0.2, streak=0.04, shadow=0.6, spread=0.12)
        part = head.at(side * -0.1, -0.86, angle, dice.between(1.84, 1.96), 0.62)
        canvas.shape(part, cup, colours, look.lit(shade, angle, 0.22), Bend(curve=-side * dice.between(0.04, 0.2)))
    shade = Shade(base=0.2, tip=0.84, round=0.22, rim=0.16, vein=0.1, streak=0.05, shadow=0.75, spread=0.16)
    part = head.at(dice.between(-0.08, 0.08), -0.9, _UP + dice.between(-0.1, 0.1), dice.between(1.45, 1.62), 0.6)
    canvas.shape(part, outline(0.52, 0.68), colours, look.lit(shade, _UP, 0.05), Bend(curve=dice.between(-0.1, 0.1)))


def _daisy(canvas: Canvas, head: Frame, look: Look) -> None:
    dice, colours, count = look.dice, look.ramp(look.stops), look.petals
    ray, wide = outline(0.55, 0.3), 2.0 / count
    for row, (tip, length) in enumerate(((0.5, 0.8), (0.86, 0.78))):
        for i in range(count):
            angle = (i + row / 2) * math.tau / count + dice.between(-0.1, 0.1)
            shade = Shade(base=0.2, tip=tip, round=0.14, rim=0.1, vein=-0.12, streak=0.04, shadow=0.4, spread=0.05)
            part = head.ray(angle, 0.16, length * dice.between(0.94, 1.06), wide * dice.between(0.88, 1.06))
            bend = Bend(dice.between(-0.3, 0.3), ripple=0.02, waves=4, phase=dice.between(0, 6))
            canvas.shape(part, ray, colours, look.lit(shade, angle), bend)
    _dome(canvas, head, 0.29, look.ramp(_GOLD), look, seeds=0.16)


def _sunflower(canvas: Canvas, head: Frame, look: Look) -> None:
    dice, colours, count = look.dice, look.ramp(look.stops), look.petals
    flame, wide = outline(0.5, 0.8), 2.6 / count
    for row, (tip, length) in enumerate(((0.5, 0.66), (0.8, 0.6))):
        for i in range(count):
            angle = (i + row / 2) * math.tau / count + dice.between(-0.07, 0.07)
            shade = Shade(base=0.12, tip=tip, round=0.12, rim=0.1, vein=-0.14, streak=0.05, shadow=0.5, spread=0.06)
            part = head.ray(angle, 0.36, length * dice.between(0.92, 1.06), wide * dice.between(0.9, 1.1))
            canvas.shape(part, flame, colours, look.lit(shade, angle), Bend(dice.between(-0.35, 0.35)))
    _dome(canvas, head, 0.47, look.ramp(_SEEDS), look, seeds=0.34)


def _rose(canvas: Canvas, head: Frame, look: Look) -> None:
    dice, colours = look.dice, look.ramp(look.stops)
    turn = dice.between(0, 6.3)
    rings = ((5, 0.1, 0.9, 0.74), (look.petals - 10, 0.05, 0.74, 0.6), (4, 0.02, 0.56, 0.46), (3, 0.0, 0.4, 0.34))
    for depth, (count, start, length, width) in enumerate(rings):
        for i in range(count):
            angle = turn + (i + depth * 0.45) * math.tau / count + dice.between(-0.12, 0.12)
            shade = Shade(base=-0.1, tip=0.76, round=0.06, rim=0.14, shadow=0.6, spread=0.2 - 0.03 * depth)
            part = head.ray(angle, start, length * dice.between(0.94, 1.06), width * dice.between(0.94, 1.06))
            bend = Bend(dice.between(-0.15, 0.15), ripple=0.03, waves=3, phase=dice.between(0, 6))
            canvas.shape(part, outline(0.6, 0.36), colours, look.lit(shade, angle, 0.2), bend)
    for i in range(4):
        size, angle = 0.32 - 0.06 * i, turn + i * _GOLDEN
        shade = Shade(base=-0.1, tip=0.7 - 0.04 * i, round=0.1, rim=0.2, shadow=0.7, spread=0.1)
        part = head.at(-0.5 * size * math.cos(angle), -0.5 * size * math.sin(angle), angle, size, size * 0.62)
        canvas.shape(part, outline(0.5, 0.4), colours, look.lit(shade, angle, 0.1))


def _poppy(canvas: Canvas, head: Frame, look: Look) -> None:
    dice, turn = look.dice, look.dice.between(0, 6.3)
    deep, mid, light = look.stops[1], look.stops[2], look.stops[3]
    colours = look.ramp((_DARK[0], look.stops[0], deep, deep, mid, mid, light, light, look.stops[4]))
    order = [i for start in (0, 1) for i in range(start, look.petals, 2)]
    for rank, i in enumerate(order):
        angle = turn + i * math.tau / look.petals + dice.between(-0.1, 0.1)
        shade = Shade(base=0.02, tip=0.8 + 0.1 * rank / look.petals, round=0.08, rim=0.12, streak=0.06, spread=0.16)
        part = head.ray(angle, 0.02, dice.between(0.94, 1.04), 3.1 / look.petals)
        bend = Bend(dice.between(-0.1, 0.1), ripple=0.05, waves=dice.between(7, 10), phase=dice.between(0, 6))
        canvas.shape(part, outline(0.62, 0.3), colours, look.lit(shade, angle, 0.14), bend)
    dark, size = look.ramp(_DARK), math.hypot(head.ax, head.ay)
    canvas.disc(head.ox, head.oy, 0.2 * size, dark[60], 0.85, soft=0.2 * size)
    for i in range(26):
        spot = head.ray(i * _GOLDEN, dice.between(0.22, 0.36), 1, 1)
        canvas.disc(spot.ox, spot.oy, 0.026 * size, dark[dice.whole(20, 220)], 0.95)
    _dome(canvas, head, 0.15, look.ramp(_BLUISH_GREEN), look, seeds=0.1)


def _lily(canvas: Canvas, head: Frame, look: Look) -> None:
    dice, colours, turn = look.dice, look.ramp(look.stops), look.dice.between(0, 6.3)
    for row, tip in enumerate((0.6, 0.8)):
        for i in range(look.petals // 2):
            angle = turn + (2 * i + row) * math.tau / look.petals + dice.between(-0.08, 0.08)
            shade = Shade(base=0.14, tip=tip, round=0.16, rim=0.16, vein=0.2, streak=0.03, shadow=0.6, spread=0.1)
            part = head.ray(angle, 0.0, dice.between(1.1, 1.22), (0.27 + 0.05 * row) * 6 / look.petals)
            bend = Bend(dice.between(-0.5, 0.5), ripple=0.02, waves=6)
            canvas.shape(part, outline(0.8, 0.9), colours, look.lit(shade, angle, 0.14), bend)
    _throat(canvas, head, look)


def _throat(canvas: Canvas, head: Frame, look: Look) -> None:
    """A lily's green heart and its six stamens."""
    dice, size = look.dice, math.hypot(head.ax, head.ay)
    canvas.disc(head.ox, head.oy, 0.06 * size, look.ramp(_GREEN)[440], 0.8, soft=0.22 * size)
    thread, anther = outline(0.1, 0.1), outline(0.5, 0.5)
    for i in range(6):
        angle, length = i * math.tau / 6 + dice.between(-0.2, 0.2), dice.between(0.34, 0.46)
        canvas.shape(head.ray(angle, 0, length, 0.016), thread, look.ramp(_GREEN), Shade(0.8, 0.9, shadow=0.3, spread=0.03))
        end = head.ray(angle, length, 1, 1)
        part = end.at(-0.07, 0, _UP + dice.between(-0.4, 0.4), 0.14, 0.04)
        part = end.at(0, -0.08, _UP, 0.16, 0.045)
        canvas.shape(part, anther, look.ramp(_SEEDS), Shade(0.4, 0.8, shadow=0.3, spread=0.03))


def _dome(canvas: Canvas, head: Frame, radius: float, colours: Floats, look: Look, seeds: float) -> None:
    """A flower's round middle, its seeds set in crossing spirals as phyllotaxis has them."""
    part = head.at(0, 0, 0, radius, radius)
    canvas.dome(part, colours, look.light, seeds)


def stem(canvas: Canvas, xs: Callable[[Floats], Floats], top: float, width: float, colours: Floats) -> None:
    """A stem from the picture's foot up to `top` along x = xs(y), a round rod lit from the left."""
    window = canvas.window(-1, 1, -1, top)
    if window is None:
        return
    y = canvas.y[window[0]]
    v = (canvas.x - xs(y)) / width
    alpha = np.clip((1 - np.abs(v)) * (width / canvas.pixel) + 0.5, 0, 1)
    light = np.clip(0.5 - 0.3 * v - 0.15 * v * v, 0, 0.999)
    canvas.blend(window, alpha, colours.take((light * len(colours)).astype(np.intp), axis=0))
    np.maximum(canvas.cover[window], alpha, out=canvas.cover[window])


@dataclass(frozen=True)
class Leaf:
    """How a kind's leaves look: length and half-width, outline, angle from the stem (radians), colours."""

    length: float
    width: float
    outline: tuple[float, float]
    angle: float
    stops: Stops
    low: bool  # grows from the ground rather than from the stem


LEAVES: dict[str, Leaf] = {
    "tulip": Leaf(1.15, 0.15, (0.5, 0.9), 0.35, _BLUISH_GREEN, True),
    "daisy": Leaf(0.5, 0.1, (0.7, 0.6), 0.9, _GREEN, False),
    "rose": Leaf(0.56, 0.19, (0.6, 0.7), 0.95, _GREEN, False),
    "sunflower": Leaf(0.68, 0.25, (0.4, 0.8), 1.0, _GREEN, False),
    "poppy": Leaf(0.6, 0.09, (0.5, 1.0), 0.6, _BLUISH_GREEN, True),
    "lily": Leaf(0.62, 0.09, (0.5, 1.0), 0.9, _GREEN, False),
}
HEADS: dict[str, Callable[[Canvas, Frame, Look], None]] = {
    "tulip": _tulip,
    "daisy": _daisy,
    "rose": _rose,
    "sunflower": _sunflower,
    "poppy": _poppy,
    "lily": _lily,
}


def leaf(canvas: Canvas, kind: Leaf, x: float, y: float, side: int, look: Look) -> None:
    """One leaf that leaves the point (x, y) to the left (side 1) or right (-1) and droops at its tip."""
    dice = look.dice
    angle = _UP + side * (kind.angle + dice.between(-0.12, 0.12))
    length = kind.length * dice.between(0.88, 1.12)
    frame = Frame(x, y, 1, 0, 0, 1).at(0, 0, angle, length, kind.width * dice.between(0.9, 1.1))
    shade = Shade(base=0.2, tip=0.6, across=-0.12 * side, round=0.1, rim=0.1, vein=0.16, streak=0.03, shadow=0.35)
    canvas.shape(frame, outline(*kind.outline), look.ramp(kind.stops), shade, Bend(curve=side * dice.between(0.1, 0.7)))
