"""The processes that train one model together, and what they tell each other besides gradients. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from runner.signals import Stop

T = TypeVar("T")
R = TypeVar("R")


class World:
    """One process; `Crew` is several. Every method is called by all of them, at the same place.

    Attributes:
        rank: this process's number.
        count: how many there are.
        store: what they write in for each other; None for one process.
        stop: the signals.
    """

    rank: int = 0
    count: int = 1
    store: Any = None

    def __init__(self) -> None:
        self.stop = Stop("")  # nothing is heard before a run has its own

    @property
    def main(self) -> bool:
        """Whether this is the process that writes, draws and speaks."""
        return self.rank == 0

    def tell(self, value: T) -> T:
        """The main process's value, in all."""
        return value

    def largest(self, number: int) -> int:
        """The largest of the processes' numbers, in all."""
        return number

    def asked(self) -> bool:
        """Whether a signal has come to any of the processes; then `stop` knows of it in all, to be raised by all."""
        number = self.largest(self.stop.requested or 0)
        if number:
            self.stop.requested = number
        return number != 0

    def wait(self) -> None:
        """Until all are here."""

    def leave(self) -> None:
        """The work is done: each is alone from here on."""

    def gathered(self, own: Iterable[T], where: Callable[[], str] = str) -> Iterator[T]:
        """The things that each process has, round by round in the order of ranks: in the main one, nothing elsewhere.

        What waits to be taken is one thing of each process. Several processes stop for a signal after the same round,
        whichever of them it came to.

        Args:
            where: what a signal's sentence says was reached.

        Raises:
            Interrupted: after a round that was taken.
        """
        for thing in own:
            yield thing
            self.stop.check(where())

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process does what is inside, then all others do: they find what it has kept."""
        if not self.main:
            self.wait()
        yield
        if self.main:
            self.wait()

    def shared(self, work: Callable[[T], R], things: Iterable[T]) -> Iterator[tuple[T, R]]:
        """Work on things, each done by one of the processes: in order in the main process, nothing elsewhere."""
        return self.gathered((thing, work(thing)) for thing in islice(things, self.rank, None, self.count))
