"""The embedded data set: any number of pictures of flowers, drawn here, at any resolution."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from PIL import Image

from runner.data import backdrops, flowers
from runner.data.brush import Canvas, Dice, Floats, Frame

DRAWING_VERSION = 1  # counted up whenever any picture changes

KINDS: tuple[str, ...] = ("tulip", "daisy", "rose", "sunflower", "poppy", "lily")
COLOURS: tuple[str, ...] = ("red", "orange", "yellow", "pink", "purple", "blue", "white")

_SCENES, _DETAILS = 0x5EED, 0xF10  # streams of randomness: a scene's parameters, and its petals' small differences
_KIND_COLOURS: dict[str, tuple[str, ...]] = {
    "tulip": COLOURS,
    "daisy": ("white", "white", "pink", "purple", "blue", "red", "orange", "yellow"),
    "rose": COLOURS,
    "sunflower": ("yellow", "yellow", "yellow", "orange", "red"),
    "poppy": ("red", "red", "orange", "yellow", "pink", "purple", "blue", "white"),
    "lily": ("pink", "white", "orange", "yellow", "red", "purple"),
}
_PETALS = {"tulip": (5, 7), "daisy": (12, 20), "rose": (15, 17), "sunflower": (14, 20), "poppy": (4, 6), "lily": (6, 6)}
_UNFIT = {("blue", "under a blue sky"), ("blue", "on a moonlit night"), ("orange", "at sunset"), ("purple", "at dawn"), ("pink", "at dawn")}
_TINTS = {"at sunset": (1.0, 0.93, 0.86), "at dawn": (1.0, 0.97, 0.99), "on a moonlit night": (0.95, 0.96, 1.0)}


@dataclass(frozen=True)
class Scene:
    kind: str
    colour: str
    background: str
    petals: int
    index: int
    x: float
    y: float
    radius: float
    turn: float
    squash: float
    bend: float
    leaves: int
    light: float

    @property
    def caption(self) -> str:
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.kind} {self.background}"


def scene(index: int) -> Scene:
    dice = Dice(_SCENES, index)
    kind = dice.pick(KINDS)
    colour = dice.pick(_KIND_COLOURS[kind])
    places = [place for place in backdrops.BACKDROPS if (colour, place) not in _UNFIT]
    return Scene(
        kind=kind,
        colour=colour,
        background=dice.pick(places),
        petals=dice.whole(*_PETALS[kind]),
        index=index,
        x=dice.between(-0.12, 0.12),
        y=dice.between(0.1, 0.24),
        radius=dice.between(0.6, 0.72),
        turn=dice.between(-0.22, 0.22),
        squash=dice.between(0.78, 1.0),
        bend=dice.between(-0.35, 0.35),
        leaves=dice.whole(1, 3),
        light=dice.pick((0.8, 2.3)),
    )


def draw(scene: Scene, resolution: int) -> Image.Image:
    finer = 3 if resolution < 48 else 2 if resolution < 768 else 1
    canvas = Canvas(resolution * finer)
    dice = Dice(_DETAILS, scene.index)
    backdrops.paint(canvas, scene.background, dice)
    look = flowers.Look(
        petals=scene.petals,
        stops=flowers.PETALS[scene.colour],
        light=scene.light,
        tint=_TINTS.get(scene.background, (1.0, 1.0, 1.0)),
        dice=dice,
    )

    def xs(y):
        down = scene.y - y
        s = down / (scene.y + 1.1)
        return scene.x + math.tan(scene.turn) * down * (1 - s) + scene.bend * s * s

    kind = flowers.LEAVES[scene.kind]
    side = dice.pick((-1, 1))
    flowers.stem(canvas, xs, scene.y, 0.045 if scene.kind != "sunflower" else 0.06, look.ramp(kind.stops))
    for i in range(scene.leaves):
        y = -1.05 if kind.low else -0.5 - 0.22 * i
        flowers.leaf(canvas, kind, xs(y), y, side, look)
        side = -side
    squash = 1.0 if scene.kind == "tulip" else scene.squash
    radius = scene.radius * (0.92 if scene.kind == "tulip" else 1)
    head = Frame.head(scene.x, scene.y, radius, scene.turn, squash)
    flowers.HEADS[scene.kind](canvas, head, look)
    backdrops.vignette(canvas, 0.25)
    small = canvas.rgb.reshape(resolution, finer, resolution, finer, 3).mean(axis=(1, 3))
    return Image.fromarray((np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8))
