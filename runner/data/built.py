"""Computed tensors: from the disk, or computed now by all processes that train together and written by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from runner.data import draft
from runner.data.tensors import TensorStore, TensorWriter

if TYPE_CHECKING:
    from runner.processes.world import World
    from runner.progress import Progress


def built(
    place: Path,
    rows: int,
    parts: Iterable[Sequence[int]],
    compute: Callable[[Sequence[int]], Mapping[str, Tensor]],
    *,
    counted: tuple[str, str],
    progress: Progress,
    world: World,
) -> TensorStore:
    """The store at `place`, which is made where it is not there.

    Args:
        place: its folder.
        rows: how many it has.
        parts: the numbers of rows that are computed together.
        compute: from such numbers to tensors of as many rows.
        counted: what is shown meanwhile, and the word for a row.

    Raises:
        EnvironmentFault: it cannot be written, or another process cannot read what was written.
    """

    def computed(numbers: Sequence[int]) -> dict[str, Tensor]:
        """In the machine's memory, through which processes hand it on."""
        return {name: tensor.detach().cpu() for name, tensor in compute(numbers).items()}

    def written(done: Iterator[tuple[Sequence[int], dict[str, Tensor]]]) -> TensorStore:
        title, unit = counted
        with TensorWriter(place.parent, rows) as writer, progress.bar(title, rows, unit=unit) as bar:
            for numbers, tensors in done:
                writer.add(numbers, tensors)
                bar.advance(len(numbers))
            return writer.keep(place.name)

    return draft.made_by_all(place, TensorStore.open, lambda: world.shared(computed, parts), written, progress, world)
