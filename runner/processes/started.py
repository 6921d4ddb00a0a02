"""How this process was started: alone, or as one of several by accelerate, torchrun or srun. Imports no torch."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import runner
from runner.errors import EnvironmentFault
from runner.shown import shown

_TURN = 5.0  # seconds
_SET = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")  # by torch's launcher, on which accelerate's is built


@dataclass(frozen=True)
class Started:
    """What a launcher says of this process: one of `count`, of which `local` are on this machine.

    Attributes:
        restarts: how often the launcher has begun again.
        most_restarts: how often it may.
    """

    rank: int
    count: int
    local: int
    restarts: int
    most_restarts: int = 0


def started() -> Started | None:
    """What a launcher says of this process; None where none started it, or it started no other.

    Raises:
        EnvironmentFault: it says something that is no number.
    """
    if any(name not in os.environ for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")):
        return None
    rank, count = _number("RANK"), _number("WORLD_SIZE")
    if rank >= count > 1:
        raise EnvironmentFault(
            f"the environment's RANK is {rank} of a WORLD_SIZE of {count}: ranks count from 0, so start by torchrun or "
            "accelerate launch, which set both, or unset them"
        )
    local, restarts = _number("LOCAL_WORLD_SIZE", count), _number("TORCHELASTIC_RESTART_COUNT", 0)
    return Started(rank, count, local, restarts, _number("TORCHELASTIC_MAX_RESTARTS", 0)) if count > 1 else None


def _number(name: str, otherwise: int = 0) -> int:
    text = os.environ.get(name, str(otherwise))
    if not (text.isascii() and text.isdigit()):
        raise EnvironmentFault(
            f"the environment's {name} is not a number ({shown(text)}): start by torchrun or accelerate launch, which "
            f"set it, or unset {name}"
        )
    return int(text)


def alone() -> None:
    """From now on this process works as if nobody had started others beside it."""
    for name in _SET:
        os.environ.pop(name, None)


def hush() -> None:
    """All but the first process say nothing, until one has something of its own to say."""
    beside = started()
    if beside is not None and beside.rank > 0:
        sys.stdout, sys.stderr = (Path(os.devnull).open("w") for _ in range(2))  # noqa: SIM115 - as long as the process


def speak() -> None:
    """What `hush` has silenced may say something of its own."""
    sys.stdout, sys.stderr = sys.__stdout__ or sys.stdout, sys.__stderr__ or sys.stderr


@contextmanager
def aloud() -> Iterator[None]:
    """What fails inside, before the processes have met, is said by the first process of each machine.

    Another waits until a launcher ends it for that; if none does, it says what is no fault of the machine's.
    """
    try:
        yield
    except Exception as error:
        beside = started()
        if beside is not None and beside.rank > 0:
            first = os.environ["LOCAL_RANK"] == "0"
            if not first:
                time.sleep(_TURN)
            if first or not isinstance(error, EnvironmentFault):
                speak()
        raise


def trains(values: dict[str, Any], arguments: Namespace) -> bool:
    """Whether a command trains, which several processes share: one plans, rehearses and draws."""
    return "training" in values and not (arguments.smoke or arguments.dry_run)


def starts_others(values: dict[str, Any], arguments: Namespace) -> bool:
    """Whether this process only starts those that do the work, which say all that there is to say."""
    return trains(values, arguments) and values["compute"]["processes"] > 1 and started() is None


def command(argv: Sequence[str]) -> list[str]:
    """The words of a process that runs `recipe` with these arguments: this Python, without the working folder.

    Where this process has `runner` from its working folder, as by `python -m runner`, so has the other.
    """
    here = Path(runner.__file__).parents[1] == Path.cwd() and sys.path[:1] in ([""], [str(Path.cwd())])
    return [sys.executable, *([] if here else ["-P"]), "-m", "runner", *argv]
