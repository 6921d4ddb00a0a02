"""Several processes that train one model together: how they meet, and how they tell each other things.

What is told goes over a gloo group of its own: through the machine's memory, so that no GPU waits for it, and so that
a process notices at once when another is gone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from runner.errors import EnvironmentFault
from runner.processes.started import Started
from runner.processes.world import World
from runner.shown import shown

_ENGINES = {
    "ACCELERATE_USE_FSDP": "fsdp",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_DYNAMO_BACKEND": "torch.compile",
}
T = TypeVar("T")

_MEETING = timedelta(minutes=15)
_PATIENCE = timedelta(days=1)  # others wait while one draws pictures; one that is gone is noticed at once


class Crew(World):
    """Several processes; see `World`."""

    def __init__(self, rank: int, count: int, group: Any, store: Any) -> None:
        super().__init__()
        self.rank, self.count, self.store = rank, count, store
        self._group = group

    def tell(self, value: T) -> T:
        held: list[Any] = [value]
        dist.broadcast_object_list(held, src=0, group=self._group)
        told: T = held[0]
        return told

    def largest(self, number: int) -> int:
        if self.count == 1:  # all have left
            return number
        held = torch.tensor([number])
        dist.all_reduce(held, dist.ReduceOp.MAX, self._group)
        return int(held.item())

    def wait(self) -> None:
        dist.barrier(self._group)

    def leave(self) -> None:
        dist.destroy_process_group()
        self.count, self.store = 1, None

    def gathered(self, own: Iterable[T], where: Callable[[], str] = str) -> Iterator[T]:
        remaining = iter(own)
        left = 1  # how many things are taken in the round at hand, at most, by each process
        with self.stop.deferred():  # one that left by itself would be missed by the others
            while left:
                thing = list(islice(remaining, 1))  # none where this process has no more
                if left := self.largest(len(thing)):
                    held: list[Any] | None = [None] * self.count if self.main else None
                    dist.gather_object(thing, held, dst=0, group=self._group)
                    for things in held or []:
                        yield from things
                if self.asked():
                    self.stop.check(where())


def join(beside: Started, compute: dict[str, Any]) -> World:
    """Meets the processes that a launcher has started.

    Args:
        compute: the resolved section.

    Raises:
        EnvironmentFault: they do not find each other, or cannot work as the section and the launcher say.
    """
    device = compute["device"]
    _require_own_strategy(compute["strategy"])
    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    if not on_cpu and not torch.cuda.is_available():
        raise EnvironmentFault(f"compute.device: {device} does not work in {beside.count} processes: write cpu")
    try:
        met, rank, count = next(rendezvous("env://", timeout=_MEETING))
        # The launcher's store lives on when it begins again, with the addresses of processes that are gone.
        store = PrefixStore(f"attempt-{beside.restarts}", met)
        state = PartialState(cpu=on_cpu, timeout=_PATIENCE, store=store, rank=rank, world_size=count)
        group = None if state.backend == "gloo" else dist.new_group(backend="gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise EnvironmentFault(
            f"the {beside.count} processes of this run do not find each other ({shown(error)}): start them all alike, "
            "by one launcher, with addresses that every machine reaches"
        ) from error
    return Crew(rank, count, group, store)


def _require_own_strategy(strategy: str) -> None:
    """What accelerate's launcher was told otherwise would win over the recipe without a word."""
    told = [word for name, word in _ENGINES.items() if os.environ.get(name, "no").lower() not in ("", "no", "false")]
    told = [word for word in told if word != strategy]
    if told:
        raise EnvironmentFault(
            f"accelerate launch was told to use {' and '.join(told)}, and compute.strategy is {strategy}: start it "
            "with --multi_gpu alone, or with torchrun"
        )
