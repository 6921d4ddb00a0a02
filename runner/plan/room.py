"""Whether what is planned fits the memory that is free."""

from __future__ import annotations

from typing import Any

from runner.memory import drawing_mends, training_mends
from runner.plan.numbers import Plan
from runner.tally import gibibytes


def shortage(plan: Plan, values: dict[str, Any]) -> str | None:
    """One sentence where a stage will probably run out of memory; None where it fits.

    Args:
        plan: of the settled recipe.
        values: the settled recipe, whose keys could be changed.
    """
    free = _free(plan.device)
    together = plan.processes if plan.device == "cpu" else 1  # those that share one memory
    stages = [("training", plan.training, together), ("drawing", plan.drawing, 1)]
    for name, numbers, processes in stages:
        needed = sum(numbers.memory.values()) * processes if numbers is not None else 0
        if needed > free:
            said = f"{name} is planned to take {gibibytes(needed)} of memory and {gibibytes(free)} are free"
            mends = drawing_mends if name == "drawing" else training_mends
            return f"{said}: it will probably run out; change, the most effective first: {', '.join(mends(values))}"
    return None


def _free(device: str) -> int:
    """Bytes of memory that can be had on the device."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    import psutil

    return int(psutil.virtual_memory().available)
