"""Accelerate's engine, and what of torch and the process is set for a device before anything is put on it."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from runner.memory import keep_memory
from runner.processes.world import World

_WORDS = {"fp32": "no"}  # accelerate's


def engine(compute: dict[str, Any], world: World) -> Accelerator:
    """The engine of a settled `compute` section: device, number format and strategy."""
    if compute["device"] == "cpu":
        keep_memory()
    torch.backends.cuda.matmul.allow_tf32 = compute["allow_tf32"]
    AcceleratorState._reset_state()  # of a run before in this process, with another number format
    return Accelerator(
        mixed_precision=_WORDS.get(compute["mixed_precision"], compute["mixed_precision"]),
        cpu=compute["device"] == "cpu",
        fsdp_plugin=_sharing() if world.count > 1 and compute["strategy"] == "fsdp" else None,
    )


def _sharing() -> Any:
    """What makes the engine share out weights."""
    from runner.training.sharded import plugin

    return plugin()
