"""Kinds of the same work measured side by side: each in a process of its own, one at work at a time, in turns.

A kind is a function that does steps without end and calls its gate after each; the gate holds it until its next turn.
What slows the machine for a while slows all kinds of a round alike, so ratios are taken within rounds.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

Kind = Callable[["Gate"], None]
"""A function of a module, or a `functools.partial` of one: it is called in a process of its own."""

LOG = "log"
_KEPT: list[object] = []  # what ends with the process


@dataclass(frozen=True)
class Turn:
    """What one turn took, seconds on the clock and of CPUs; its process so far: seconds of CPUs, MiB at most.

    `peak` is of the GPU's memory where the process computes on one.
    """

    clock: float
    cpu: float
    process: float
    peak: float


class Gate:
    """Holds a kind between its turns. Call `ready` when all is loaded, then `step` after each step."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._left = 0

    def ready(self) -> None:
        """Waits for the first turn."""
        self._wait()

    def step(self) -> None:
        """A step is done; the last one of a turn waits for the next turn."""
        self._left -= 1
        if self._left == 0:
            _finish()
            clock, cpu = (now - then for now, then in zip(_times(), self._start, strict=True))
            self._connection.send(Turn(clock, cpu, time.process_time(), peak()))
            self._wait()

    def _wait(self) -> None:
        self._left = self._connection.recv()
        if self._left == 0:
            os._exit(0)  # the kind may be in the middle of anything
        self._start = _times()


def _gpu() -> ModuleType | None:
    """torch.cuda, where this process computes on a GPU."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


def _finish() -> None:
    """Waits until a GPU has done what it was given."""
    if gpu := _gpu():
        gpu.synchronize()


def _times() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


class Worker:
    """A kind's process."""

    def __init__(self, name: str, kind: Kind) -> None:
        context = multiprocessing.get_context("spawn")  # nothing of this process is shared
        self._connection, theirs = context.Pipe()
        self._folder = tempfile.TemporaryDirectory(prefix="recipe-")
        self._process = context.Process(target=_work, args=(kind, theirs, self._folder.name))
        self._process.start()
        theirs.close()
        self.name = name

    def turn(self, steps: int) -> Turn:
        """Lets it do so many steps."""
        self.begin(steps)
        return self.end()

    def begin(self, steps: int) -> None:
        """Lets it begin a turn."""
        with suppress(OSError):  # `end` tells
            self._connection.send(steps)

    def end(self, patience: float | None = None) -> Turn:
        """Waits for the end of the turn.

        Raises:
            SystemExit: it ended by itself, or has not ended after so many seconds; what it said last.
        """
        try:
            if not self._connection.poll(patience):
                self._process.kill()
            found: Turn = self._connection.recv()
        except (EOFError, OSError):
            said = Path(self._folder.name, LOG).read_text("utf-8")
            raise SystemExit(f"'{self.name}' ended:\n{said[-4000:]}") from None
        return found

    def close(self) -> None:
        """Ends it."""
        with suppress(OSError):
            self._connection.send(0)
        self._process.join()
        self._folder.cleanup()


def _work(kind: Kind, connection: Connection, folder: str) -> None:
    tempfile.tempdir = folder  # what it leaves there when it ends goes with the folder
    with Path(folder, LOG).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        multiprocessing.set_start_method(None, force=True)  # that of any process, for the workers of a DataLoader
        settle_vision()
        kind(Gate(connection))


def settle_vision() -> None:
    """Lets transformers and diffusers import a torchvision whose build is another than torch's.

    The operators that it lacks then are declared: transforms of PIL pictures, all that is used here, need none.
    """
    if importlib.util.find_spec("torchvision") is None:
        return
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)


def side_by_side(kinds: Mapping[str, Kind], how: argparse.Namespace) -> dict[str, list[float]]:
    """The seconds of each kind's turns.

    Args:
        how: the options of `arguments`.
    """
    with ExitStack() as stack:
        workers = []
        for name, kind in kinds.items():
            workers.append(Worker(name, kind))
            stack.callback(workers[-1].close)
            workers[-1].turn(how.warm)
        return {name: [getattr(turn, how.clock) for turn in found] for name, found in rounds(workers, how).items()}


def rounds(workers: Sequence[Worker], how: argparse.Namespace) -> dict[str, list[Turn]]:
    """The turns of each, a round after another; the order turns round from round to round."""
    turns: dict[str, list[Turn]] = {worker.name: [] for worker in workers}
    for number in range(how.rounds):
        for worker in workers if number % 2 == 0 else workers[::-1]:
            turns[worker.name].append(worker.turn(how.steps))
    return turns


def arguments(parser: argparse.ArgumentParser, *, rounds: int, steps: int, warm: int) -> None:
    """Adds the options of `side_by_side` with these defaults."""
    parser.add_argument("--rounds", type=int, default=rounds, help="how many turns each kind has")
    parser.add_argument("--steps", type=int, default=steps, help="how many steps a turn has")
    parser.add_argument("--warm", type=int, default=warm, help="how many steps each does first, which do not count")
    parser.add_argument(
        "--clock", choices=("clock", "cpu"), default="clock", help="cpu: of the kind's own process, on a busy machine"
    )


def in_turns(kinds: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each of these calls in this process, in turn, after one call each that does not count."""
    for call in kinds.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds):
        for name in list(kinds) if number % 2 == 0 else list(kinds)[::-1]:
            start = time.perf_counter()
            kinds[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(seconds: Mapping[str, Sequence[float]], of: str, over: str) -> list[float]:
    """How many times as fast `of` is as `over`, in each round."""
    return [b / a for a, b in zip(seconds[of], seconds[over], strict=True)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, and in brackets the middle half of the values: '1.45 (1.41 to 1.47)'."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(
    seconds: Mapping[str, Sequence[float]], *, unit: str, work: float, bases: Sequence[str], digits: int = 2
) -> None:
    """Prints a row per kind: how much of `unit` it does a second, and how many times as much as each base.

    Args:
        seconds: of each kind, a number per round.
        work: how much one of these numbers stands for.
    """
    wide = max(map(len, seconds))
    print(f"{'':{wide}}  {unit + '/s':>26}  " + "  ".join(f"{'× ' + base:>26}" for base in bases))
    for name, found in seconds.items():
        row = [spread([work / s for s in found], digits)]
        row += ["" if name == base else spread(ratios(seconds, name, base), 3) for base in bases]
        print(f"{name:{wide}}  " + "  ".join(f"{cell:>26}" for cell in row), flush=True)
    print(f"median and middle half of {len(next(iter(seconds.values())))} rounds; ratios within a round\n", flush=True)


def peak() -> float:
    """MiB that this process has held at most, of a GPU's memory if it computes on one."""
    if gpu := _gpu():
        return gpu.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
