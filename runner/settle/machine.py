"""The machine: device, number formats, and what must leave the device so that the rest fits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runner import processor
from runner.errors import EnvironmentFault
from runner.language.problems import Problem
from runner.language.recipe import Recipe
from runner.models import family_class
from runner.models.counting import parameters
from runner.models.family import WIDTHS, Facts

_ROOM = 2 * 2**30  # bytes left for activations


def settle(values: dict[str, Any]) -> dict[str, str | int]:
    """The device, the number format of training and the threads that prepare its batches, in place of `auto`.

    On a CPU with instructions for it bf16 takes about three quarters of fp32's time; what only draws there stays in
    fp32. A thread beside those that compute takes more from them there than it prepares.

    Raises:
        EnvironmentFault: the device asked for is not there.
    """
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    compute = values["compute"]
    device = compute["device"]
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        found = " and ".join(name for name, yes in there.items() if yes)
        raise EnvironmentFault(f"compute.device: {device} is not on this machine ({found} is): write auto or cpu")
    precision = compute["mixed_precision"]
    if precision == "auto":
        precision = _precision(device, trains="training" in values)
    workers = compute["dataloader_num_workers"]
    if workers == "auto":
        workers = 0 if device == "cpu" else 1
    return {"device": device, "mixed_precision": precision, "dataloader_num_workers": workers}


def _precision(device: str, *, trains: bool) -> str:
    import torch

    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if device == "cpu" and trains and processor.has_bf16() else "fp32"


def settle_drawing(values: dict[str, Any], saved: Facts | None) -> dict[str, str]:
    """The number format of a saved model's weights, and its offloading, in place of `auto`.

    Args:
        values: the device is settled.
        saved: the model; None for one with random weights, which is built in fp32 and never offloaded.
    """
    compute, learns = values["compute"], "training" in values
    dtype, offload = compute["dtype"], compute["offload"]
    on_cpu = compute["device"] == "cpu"
    if dtype == "auto":
        dtype = _dtype(values, saved)
    if on_cpu or saved is None or learns:
        offload = "none"  # there is nowhere to offload to, or all of it is needed at once
    elif offload == "auto":
        offload = _offload(compute["device"], dtype, saved)
    return {"dtype": dtype, "offload": offload}


def settle_captioning(compute: dict[str, Any]) -> dict[str, str]:
    """The same for a recipe without a model of its own, which only writes captions."""
    on_cpu = compute["device"] == "cpu"
    return {
        "dtype": ("fp32" if on_cpu else "fp16") if compute["dtype"] == "auto" else compute["dtype"],
        "offload": "none",
    }


def _dtype(values: dict[str, Any], saved: Facts | None) -> str:
    """The number format of weights: those that learn are kept in fp32, those below an adapter as training computes."""
    compute = values["compute"]
    if saved is None or ("training" in values and "adapter" not in values):
        return "fp32"
    if "training" in values:
        return str(compute["mixed_precision"])
    return "fp32" if compute["device"] == "cpu" else str(family_class(saved.family).GPU_DTYPE)


def _offload(device: str, dtype: str, saved: Facts) -> str:
    """The fastest way in which the weights fit the device with some room."""
    import torch

    if device != "cuda":
        return "none"
    free, _ = torch.cuda.mem_get_info()
    skeletons = family_class(saved.family).skeletons(saved)
    sizes = [parameters(part) * WIDTHS[dtype] for part in skeletons.values()]
    if sum(sizes) + _ROOM < free:
        return "none"
    return "model" if max(sizes) + _ROOM < free else "sequential"


def problems(recipe: Recipe, values: dict[str, Any]) -> Iterator[Problem]:
    """What of `compute` this machine, or this kind of training, cannot do."""
    compute = values["compute"]
    if "training" in values and "adapter" not in values and compute["dtype"] not in ("auto", "fp32"):
        message = "weights that learn are kept in fp32: write auto, and compute.mixed_precision for the work itself"
        yield recipe.problem(("compute", "dtype"), "half-weights", message)
    if compute["mixed_precision"] == "fp16" and compute["device"] == "cpu":
        yield recipe.problem(
            ("compute", "mixed_precision"),
            "fp16-on-cpu",
            "fp16 needs a GPU: there is no loss scaling on a CPU; write auto, fp32 or bf16",
        )
