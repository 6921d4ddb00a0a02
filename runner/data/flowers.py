"""How each kind of built-in flower is painted: leaves, stem and head, from the back to the front."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from runner.data.backdrops import LIGHT
from runner.data.brush import Canvas, Colours, ramp
from runner.data.scene import Dice, Scene
from runner.data.shapes import Bend, Floats, Frame, Outline, Shade

# Five stops from shadow to light; every stop of a colour is still that colour to the eye.
_PETALS: dict[str, Colours] = {
    "red": ((70, 0, 18), (142, 6, 26), (208, 22, 36), (238, 56, 52), (255, 130, 112)),
    "orange": ((122, 36, 0), (196, 74, 0), (242, 118, 12), (255, 152, 44), (255, 204, 128)),
    "yellow": ((150, 92, 0), (214, 150, 0), (250, 200, 20), (255, 222, 70), (255, 244, 170)),
    "pink": ((128, 14, 76), (196, 46, 124), (238, 98, 166), (252, 150, 198), (255, 214, 232)),
    "purple": ((40, 8, 84), (78, 26, 138), (126, 58, 190), (164, 104, 222), (214, 178, 246)),
    "blue": ((8, 18, 96), (18, 44, 158), (36, 84, 220), (84, 138, 246), (168, 204, 255)),
    "white": ((132, 136, 166), (182, 186, 210), (222, 224, 238), (246, 246, 250), (255, 255, 255)),
}
_GREEN: Colours = ((12, 44, 20), (28, 84, 34), (62, 132, 52), (118, 178, 78), (190, 222, 132))
_BLUISH_GREEN: Colours = ((10, 46, 36), (26, 86, 62), (60, 132, 90), (120, 180, 128), (196, 226, 184))
_GOLD: Colours = ((110, 52, 0), (190, 108, 0), (240, 170, 10), (255, 206, 50), (255, 240, 140))
_SEEDS: Colours = ((22, 10, 6), (50, 26, 12), (92, 50, 18), (140, 84, 28), (206, 146, 58))
_DARK: Colours = ((12, 6, 18), (26, 16, 34), (52, 38, 60), (90, 76, 96), (150, 140, 150))
_UP = math.pi / 2
_GOLDEN = math.pi * (3 - math.sqrt(5))


@dataclass(frozen=True)
class Look:
    """A scene's flower while it is painted, with the throws that make each of its parts a little different."""

    scene: Scene
    dice: Dice

    @property
    def petal_ramp(self) -> Floats:
        """The ramp of the petals."""
        return self.ramp(_PETALS[self.scene.colour], self.scene.depth)

    def ramp(self, colours: Colours, depth: float = 1.0) -> Floats:
        """The ramp of any part, in the light of the scene's place."""
        return ramp(colours, depth, LIGHT.get(self.scene.background, (1.0, 1.0, 1.0)))

    def lit(self, shade: Shade, angle: float, amount: float = 0.1) -> Shade:
        """`shade`, lighter where a petal points to the light and darker where it points away."""
        more = amount * math.cos(angle - self.scene.light)
        across = shade.across + 0.1 * math.sin(self.scene.light - angle)
        return replace(shade, base=shade.base + more / 2, tip=shade.tip + more, across=across)


def _tulip(canvas: Canvas, head: Frame, look: Look) -> None:
    dice, colours = look.dice, look.petal_ramp
    cup, splay = Outline(0.6, 0.78), dice.between(0.14, 0.24)
    back = look.scene.petals - 3
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
    canvas.shape(part, Outline(0.52, 0.68), colours, look.lit(shade, _UP, 0.05), Bend(curve=dice.between(-0.1, 0.1)))


def _daisy(canvas: Canvas, head: Frame, look: Look) -> None:
    dice, colours, count = look.dice, look.petal_ramp, look.scene.petals
    ray, wide = Outline(0.55, 0.3), 2.0 / count
    for row, (tip, length) in enumerate(((0.5, 0.8), (0.86, 0.78))):
        for i in range(count):
            angle = (i + row / 2) * math.tau / count + dice.between(-0.1, 0.1)
            shade = Shade(base=0.2, tip=tip, round=0.14, rim=0.1, vein=-0.12, streak=0.04, shadow=0.4, spread=0.05)
            part = head.ray(angle, 0.16, length * dice.between(0.94, 1.06), wide * dice.between(0.88, 1.06))
            bend = Bend(dice.between(-0.3, 0.3), ripple=0.02, waves=4, phase=dice.between(0, 6))
            canvas.shape(part, ray, colours, look.lit(shade, angle), bend)
    _dome(canvas, head, look, 0.29, _GOLD, seeds=0.16)


def _sunflower(canvas: Canvas, head: Frame, look: Look) -> None:
    dice, colours, count = look.dice, look.petal_ramp, look.scene.petals
    flame, wide = Outline(0.5, 0.8), 2.6 / count
    for row, (tip, length) in enumerate(((0.5, 0.66), (0.8, 0.6))):
        for i in range(count):
            angle = (i + row / 2) * math.tau / count + dice.between(-0.07, 0.07)
            shade = Shade(base=0.12, tip=tip, round=0.12, rim=0.1, vein=-0.14, streak=0.05, shadow=0.5, spread=0.06)
            part = head.ray(angle, 0.36, length * dice.between(0.92, 1.06), wide * dice.between(0.9, 1.1))
            canvas.shape(part, flame, colours, look.lit(shade, angle), Bend(dice.between(-0.35, 0.35)))
    _dome(canvas, head, look, 0.47, _SEEDS, seeds=0.45)


def _rose(canvas: Canvas, head: Frame, look: Look) -> None:
    dice, colours = look.dice, look.petal_ramp
    turn = dice.between(0, 6.3)
    canvas.shape(head.at(-0.7, 0, 0, 1.4, 0.7), Outline(0.5, 0.5), colours, Shade(base=0.1, tip=0.1))  # closes gaps
    rings = ((look.scene.petals - 12, 0.08, 0.92, 0.74), (5, 0.04, 0.74, 0.6), (3, 0.0, 0.54, 0.5))
    for depth, (count, start, length, width) in enumerate(rings):
        for i in range(count):
            angle = turn + (i + depth * 0.45) * math.tau / count + dice.between(-0.14, 0.14)
            shade = Shade(
                base=0.06, tip=0.8 - 0.07 * depth, round=0.05, rim=0.1, shadow=0.55, spread=0.2 - 0.03 * depth
            )
            part = head.ray(angle, start, length * dice.between(0.94, 1.06), width * dice.between(0.94, 1.06))
            bend = Bend(dice.between(-0.15, 0.15), ripple=0.03, waves=3, phase=dice.between(0, 6))
            canvas.shape(part, Outline(0.6, 0.36), colours, look.lit(shade, angle, 0.2), bend)
    for i in range(4):
        size, angle = 0.36 - 0.07 * i, turn + i * _GOLDEN
        shade = Shade(base=-0.1, tip=0.64 - 0.05 * i, round=0.1, rim=0.16, shadow=0.7, spread=0.1)
        part = head.at(-0.5 * size * math.cos(angle), -0.5 * size * math.sin(angle), angle, size, size * 0.64)
        canvas.shape(part, Outline(0.5, 0.4), colours, look.lit(shade, angle, 0.1))


def _poppy(canvas: Canvas, head: Frame, look: Look) -> None:
    dice, turn = look.dice, look.dice.between(0, 6.3)
    count = look.scene.petals
    colours = look.ramp((_DARK[0], *_PETALS[look.scene.colour]), look.scene.depth)
    order = [*range(0, count, 2), *range(1, count, 2)]
    for rank, i in enumerate(order):
        angle = turn + i * math.tau / count + dice.between(-0.1, 0.1)
        shade = Shade(base=0.12, tip=0.76 + 0.1 * rank / count, round=0.08, rim=0.12, streak=0.035, spread=0.16)
        part = head.ray(angle, 0.02, dice.between(0.94, 1.04), 3.1 / count)
        bend = Bend(dice.between(-0.1, 0.1), ripple=0.05, waves=dice.between(7, 10), phase=dice.between(0, 6))
        canvas.shape(part, Outline(0.62, 0.3), colours, look.lit(shade, angle, 0.14), bend)
    dark, size = look.ramp(_DARK), math.hypot(head.ax, head.ay)
    canvas.disc(head.ox, head.oy, 0.2 * size, dark[60], 0.92, soft=0.26 * size)
    for i in range(20):
        spot = head.ray(i * _GOLDEN, dice.between(0.22, 0.36), 1, 1)
        canvas.disc(spot.ox, spot.oy, 0.026 * size, dark[dice.whole(20, 220)], 0.95)
    _dome(canvas, head, look, 0.15, _BLUISH_GREEN, seeds=0.1)


def _lily(canvas: Canvas, head: Frame, look: Look) -> None:
    dice, colours, turn = look.dice, look.petal_ramp, look.dice.between(0, 6.3)
    for row, tip in enumerate((0.6, 0.8)):
        for i in range(3):
            angle = turn + (2 * i + row) * math.tau / 6 + dice.between(-0.08, 0.08)
            shade = Shade(base=0.14, tip=tip, round=0.16, rim=0.16, vein=0.2, streak=0.03, shadow=0.6, spread=0.1)
            part = head.ray(angle, 0.0, dice.between(1.1, 1.22), 0.27 + 0.05 * row)
            bend = Bend(dice.between(-0.5, 0.5), ripple=0.02, waves=6)
            canvas.shape(part, Outline(0.8, 0.9), colours, look.lit(shade, angle, 0.14), bend)
    _throat(canvas, head, look)


def _throat(canvas: Canvas, head: Frame, look: Look) -> None:
    """A lily's green heart and its six stamens."""
    dice, size, green = look.dice, math.hypot(head.ax, head.ay), look.ramp(_GREEN)
    canvas.disc(head.ox, head.oy, 0.06 * size, green[440], 0.8, soft=0.22 * size)
    thread, anther = Shade(0.8, 0.9, shadow=0.3, spread=0.03), Shade(0.4, 0.8, shadow=0.3, spread=0.03)
    for i in range(6):
        angle, length = i * math.tau / 6 + dice.between(-0.2, 0.2), dice.between(0.34, 0.46)
        canvas.shape(head.ray(angle, 0, length, 0.016), Outline(0.1, 0.1), green, thread)
        end = head.ray(angle, length, 1, 1)
        canvas.shape(end.at(0, -0.08, _UP, 0.16, 0.045), Outline(0.5, 0.5), look.ramp(_SEEDS), anther)


def _dome(canvas: Canvas, head: Frame, look: Look, radius: float, colours: Colours, seeds: float) -> None:
    canvas.dome(head.at(0, 0, 0, radius, radius), look.ramp(colours), look.scene.light, seeds)


@dataclass(frozen=True)
class Leaf:
    """How a kind's leaves and stem look."""

    length: float
    width: float
    outline: Outline
    angle: float  # from the stem, in radians
    colours: Colours
    stem: float  # the stem's half-width
    low: bool = False  # leaves grow from the ground, behind the stem


_LEAVES = {
    "tulip": Leaf(1.15, 0.15, Outline(0.3, 0.9), 0.35, _BLUISH_GREEN, 0.045, low=True),
    "daisy": Leaf(0.5, 0.1, Outline(0.7, 0.6), 0.9, _GREEN, 0.04),
    "rose": Leaf(0.56, 0.19, Outline(0.6, 0.7), 0.95, _GREEN, 0.045),
    "sunflower": Leaf(0.68, 0.25, Outline(0.4, 0.8), 1.0, _GREEN, 0.06),
    "poppy": Leaf(0.6, 0.09, Outline(0.3, 1.0), 0.6, _BLUISH_GREEN, 0.04, low=True),
    "lily": Leaf(0.62, 0.09, Outline(0.5, 1.0), 0.9, _GREEN, 0.045),
}
_HEADS: dict[str, Callable[[Canvas, Frame, Look], None]] = {
    "tulip": _tulip,
    "daisy": _daisy,
    "rose": _rose,
    "sunflower": _sunflower,
    "poppy": _poppy,
    "lily": _lily,
}


def _leaf(canvas: Canvas, look: Look, x: float, y: float, side: int) -> None:
    """One leaf that leaves the point (x, y) to the left (side 1) or right (-1) and droops at its tip."""
    kind, dice = _LEAVES[look.scene.kind], look.dice
    angle = _UP + side * (kind.angle + dice.between(-0.12, 0.12))
    frame = Frame(x, y, 1, 0, 0, 1).at(
        0, 0, angle, kind.length * dice.between(0.88, 1.12), kind.width * dice.between(0.9, 1.1)
    )
    shade = Shade(base=0.2, tip=0.6, across=-0.12 * side, round=0.1, rim=0.1, vein=0.16, streak=0.03, shadow=0.35)
    canvas.shape(frame, kind.outline, look.ramp(kind.colours), shade, Bend(curve=side * dice.between(0.1, 0.7)))


def _stem(scene: Scene, y: Any) -> Any:
    """Where the stem is at height y: it leaves the head straight down its axis and then bends."""
    down = scene.y - y
    part = down / (scene.y + 1.1)
    return scene.x + math.tan(scene.turn) * down * (1 - part) + scene.bend * part * part


def paint(canvas: Canvas, scene: Scene, dice: Dice) -> None:
    """Paint the scene's flower over what the canvas shows."""
    look, kind = Look(scene, dice), _LEAVES[scene.kind]
    path = partial(_stem, scene)
    side = dice.pick((-1, 1))
    if not kind.low:
        canvas.stem(path, scene.y, kind.stem, look.ramp(kind.colours))
    for i in range(max(2, scene.leaves) if kind.low else scene.leaves):
        y = -1.05 if kind.low else -0.5 - 0.22 * i
        _leaf(canvas, look, path(y), y, side if i % 2 else -side)
    if kind.low:
        canvas.stem(path, scene.y, kind.stem, look.ramp(kind.colours))
    squash, radius = (1.0, 0.92 * scene.radius) if scene.kind == "tulip" else (scene.squash, scene.radius)
    _HEADS[scene.kind](canvas, Frame.head(scene.x, scene.y, radius, scene.turn, squash), look)
