"""What a built-in picture shows: a flower's kind, colour and place, and every number that its drawing needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

KINDS: tuple[str, ...] = ("tulip", "daisy", "rose", "sunflower", "poppy", "lily")
COLOURS: tuple[str, ...] = ("red", "orange", "yellow", "pink", "purple", "blue", "white")
PLACES: tuple[str, ...] = (
    "under a blue sky",
    "at sunset",
    "at dawn",
    "in a green garden",
    "by the sea",
    "on a moonlit night",
    "against a grey wall",
)

# A colour that stands twice comes twice as often.
_COLOURS_OF = {
    "tulip": COLOURS,
    "daisy": (*COLOURS, "white"),
    "rose": COLOURS,
    "sunflower": ("yellow", "yellow", "orange", "red"),
    "poppy": (*COLOURS, "red"),
    "lily": ("red", "orange", "yellow", "pink", "purple", "white"),
}
_PETALS = {"tulip": (5, 7), "daisy": (10, 16), "rose": (17, 19), "sunflower": (12, 17), "poppy": (4, 6), "lily": (6, 6)}
# Places in which a colour would not stand out.
_UNFIT = {
    "orange": {"at sunset"},
    "pink": {"at dawn"},
    "purple": {"at dawn"},
    "blue": {"under a blue sky", "by the sea", "on a moonlit night"},
}
_SCENES = 3154  # the stream of random numbers that scenes are made of: one whose first pictures are well mixed

T = TypeVar("T")


class Dice:
    """Counter-based randomness (Philox): a key's throws are the same whatever else was drawn before, or anywhere.

    Args:
        stream: what the throws are for.
        index: the picture's number.
    """

    def __init__(self, stream: int, index: int) -> None:
        self._generator = np.random.Generator(np.random.Philox(key=np.array([stream, index], dtype=np.uint64)))
        self._throws: list[float] = []

    def _throw(self) -> float:
        """A number in [0, 1), from a store: asking numpy for one at a time would be slow."""
        if not self._throws:
            self._throws = self._generator.random(64).tolist()
        return self._throws.pop()

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self._throw()

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._throw() * (high - low + 1))

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices, each as likely."""
        return choices[int(self._throw() * len(choices))]


@dataclass(frozen=True)
class Scene:
    """One picture's parameters, none of which depends on the resolution.

    Lengths are in half picture widths, with the origin in the picture's middle and y upwards; angles are in radians.

    Attributes:
        kind: one of `KINDS`.
        colour: one of `COLOURS`, the petals' only colour.
        background: one of `PLACES`, as the caption says it.
        petals: how many the flower has; of a daisy or a sunflower, in each of its two rows.
        index: the picture's number, the key of the small differences between petals, clouds and leaves.
        x, y: the middle of the flower's head.
        radius: the head's size.
        turn: how far the head is turned, counter-clockwise.
        squash: the head's height by its width, 1 as seen straight from the front.
        bend: how far to the right of the head the stem meets the ground.
        leaves: how many there are.
        light: the direction that light comes from.
        depth: the petals' tone, from 0.86 (pale) to 1.16 (deep).
    """

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
    depth: float

    @property
    def caption(self) -> str:
        """The picture in words: "a red tulip under a blue sky"."""
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.kind} {self.background}"


def scene(index: int) -> Scene:
    """The scene of picture `index` (0 and up): always the same."""
    dice = Dice(_SCENES, index)
    kind = dice.pick(KINDS)
    colour = dice.pick(_COLOURS_OF[kind])
    return Scene(
        kind=kind,
        colour=colour,
        background=dice.pick([place for place in PLACES if place not in _UNFIT.get(colour, ())]),
        petals=dice.whole(*_PETALS[kind]),
        index=index,
        x=dice.between(-0.12, 0.12),
        y=dice.between(0.1, 0.22),
        radius=dice.between(0.6, 0.72),
        turn=dice.between(-0.22, 0.22),
        squash=dice.between(0.78, 1.0),
        bend=dice.between(-0.35, 0.35),
        leaves=dice.whole(1, 3),
        light=dice.pick((0.8, 2.3)),
        depth=dice.pick((0.86, 0.93, 1.0, 1.08, 1.16)),
    )
