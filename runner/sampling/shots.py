"""What to draw, in the order of drawing: each cell of the matrix, each prompt, each picture of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One combination of the matrix's values.

    Attributes:
        sampling: the `sampling` section with these values in place.
        values: them alone, by key, in the order of the recipe; empty without a matrix.
    """

    sampling: dict[str, Any]
    values: dict[str, Any]


@dataclass(frozen=True)
class Shot:
    """Pictures that are drawn together.

    Attributes:
        cell: whose settings they have.
        first: the number of the first picture among all; the others follow.
        place: its place in the cell.
        prompts: each is drawn `copies` times in a row; empty for models without text.
        seeds: one per picture.
    """

    cell: Cell
    first: int
    place: int
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def copies(self) -> int:
        """Pictures of each prompt."""
        return len(self.seeds) // max(len(self.prompts), 1)

    @property
    def numbers(self) -> range:
        """The pictures' numbers."""
        return range(self.first, self.first + len(self.seeds))

    def prompt(self, place: int) -> str | None:
        """The prompt of the picture at this place of the shot."""
        return self.prompts[place // self.copies] if self.prompts else None


def cells(sampling: dict[str, Any]) -> list[Cell]:
    """The product of the matrix's values, the last key's changing fastest; one cell without a matrix."""
    matrix: dict[str, list[Any]] = sampling.get("matrix") or {}
    plain = {key: value for key, value in sampling.items() if key != "matrix"}
    found = []
    for combination in product(*matrix.values()):
        values = dict(zip(matrix, combination, strict=True))
        found.append(Cell(plain | values, values))
    return found


def seeds(sampling: dict[str, Any]) -> list[int]:
    """The seeds of a prompt's pictures: those listed, else seed + j for picture j."""
    listed = sampling.get("seeds")
    return list(listed) if listed else [sampling["seed"] + j for j in range(sampling["num_images"])]


def shots(sampling: dict[str, Any]) -> list[Shot]:
    """Everything that a settled `sampling` section draws, `batch_size` pictures at a time.

    A batch holds pictures of one prompt, or all the pictures of several prompts.
    """
    found: list[Shot] = []
    first = 0
    for cell in cells(sampling):
        start = first
        for prompts, batch in _batches(cell.sampling):
            found.append(Shot(cell, first, first - start, prompts, batch))
            first += len(batch)
    return found


def _batches(sampling: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
    size, each = sampling["batch_size"], seeds(sampling)
    prompts: Sequence[str] = sampling.get("prompts") or ()
    if len(each) < size and prompts:
        for group in _cut(prompts, size // len(each)):
            yield tuple(group), tuple(each) * len(group)
        return
    alone: list[tuple[str, ...]] = [(prompt,) for prompt in prompts] or [()]
    for one in alone:
        for batch in _cut(each, size):
            yield one, tuple(batch)


def _cut(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
