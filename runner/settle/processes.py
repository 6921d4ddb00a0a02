"""The processes that train together: whether this machine and this recipe can have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runner.errors import EnvironmentFault
from runner.language.problems import Problem
from runner.language.recipe import Recipe
from runner.language.rules_processes import RULES
from runner.language.view import View, steps
from runner.processes import started

_SHARDED = ("adamw", "adam", "sgd")  # optimizers that work on parts of weights


def settle(values: dict[str, Any]) -> dict[str, Any]:
    """`processes` and `strategy` of `compute`, whose device is settled: one process where nothing is trained.

    Raises:
        EnvironmentFault: they are more than the GPUs of this machine.
    """
    compute, beside = values["compute"], started()
    if "training" not in values:
        return {"processes": 1, "strategy": "ddp"}
    require_devices(compute, beside.local if beside is not None else compute["processes"])
    return {key: compute[key] for key in ("processes", "strategy")}


def require_devices(compute: dict[str, Any], processes: int) -> None:
    """Raises EnvironmentFault where so many processes on this machine find no device each."""
    import torch

    device, gpus = compute["device"], torch.cuda.device_count()
    if processes == 1 or device == "cpu" or (device == "auto" and not gpus):
        return
    if device == "mps":
        raise EnvironmentFault(f"compute.processes: {processes} processes cannot share mps: write 1, or device: cpu")
    if processes > gpus:
        here, write = "1 is" if gpus == 1 else f"{gpus or 'none'} are", gpus or "device: cpu"
        raise EnvironmentFault(
            f"compute.processes: {processes} processes take a GPU each, and {here} here: write {write}, or start them "
            "on several machines with torchrun"
        )


def unshared(values: dict[str, Any]) -> str | None:
    """A strategy that one process has no use for; None where there is none."""
    compute = values["compute"]
    if "training" not in values or compute["processes"] > 1 or compute["strategy"] != "fsdp":
        return None
    return (
        "compute.strategy: fsdp has no effect in one process: compute.processes starts more, and so do torchrun and "
        "accelerate launch"
    )


def problems(recipe: Recipe, values: dict[str, Any]) -> Iterator[Problem]:
    """What of a recipe that trains several processes cannot do.

    The language's own rules are asked again: a launcher may have started more than it says, and `auto` is a CPU.
    """
    if "training" not in values or values["compute"]["processes"] == 1:
        return
    view = View(recipe.document, values, set())
    for name, function in RULES:
        for path, message, severity in function(view):
            yield recipe.problem(steps(path), name, message, severity)
    if values["compute"]["strategy"] == "fsdp":
        yield from _unsharded(recipe, values)


def _unsharded(recipe: Recipe, values: dict[str, Any]) -> Iterator[Problem]:
    """Why the weights cannot be shared out."""
    compute, place = values["compute"], ("compute", "strategy")
    if "adapter" in values:
        yield recipe.problem(place, "fsdp", "fsdp shares out what learns, and an adapter is small: write ddp")
    for key in ("channels_last", "compile"):
        if compute[key] is True:
            message = f"{key} does not work on parts of weights, as fsdp has them: write auto or false"
            yield recipe.problem(("compute", key), "fsdp", message)
    if "prior" in values.get("data", {}) and "aspect_ratio_buckets" in values["data"]:
        message = "with prior pictures and buckets, processes have other numbers of batches, and fsdp waits: write ddp"
        yield recipe.problem(place, "fsdp", message)
    kind = values["training"]["optimizer"]["type"]
    if kind not in _SHARDED:
        message = f"{kind} does not work on parts of weights, as fsdp has them: use {', '.join(_SHARDED)}"
        yield recipe.problem(("training", "optimizer", "type"), "fsdp", message)
