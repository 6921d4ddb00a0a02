"""Out of memory: one sentence that names the keys to change, in the order of their effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from runner.errors import EnvironmentFault

_CPU_WORDS = ("DefaultCPUAllocator", "not enough memory", "Cannot allocate memory")


@contextmanager
def guarded(values: dict[str, Any], changes: Iterable[str]) -> Iterator[None]:
    """Turns running out of memory into a sentence.

    Args:
        values: the settled recipe.
        changes: what to write on the command line, the most effective first.

    Raises:
        EnvironmentFault: the device or the machine has no memory left; what was made before is kept.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        known = not isinstance(error, RuntimeError) or isinstance(error, torch.OutOfMemoryError)
        if not known and not any(word in str(error) for word in _CPU_WORDS):
            raise
        raise EnvironmentFault(_sentence(values, list(changes))) from error


def _sentence(values: dict[str, Any], changes: list[str]) -> str:
    device = values["compute"]["device"]
    where = "the machine" if device == "cpu" else f"the device ({device})"
    if not changes:
        return f"{where} is out of memory, and every key that saves some is set: take a larger one"
    return f"{where} is out of memory; what was made is kept. Change, the most effective first: {', '.join(changes)}"


def training_mends(values: dict[str, Any]) -> Iterator[str]:
    """What to write on the command line so that training takes less memory, the most effective first."""
    training, compute = values["training"], values["compute"]
    if not training["gradient_checkpointing"]:
        yield "training.gradient_checkpointing=true"
    if training["batch_size"] > 1:
        half, doubled = training["batch_size"] // 2, training["gradient_accumulation_steps"] * 2
        yield f"training.batch_size={half} training.gradient_accumulation_steps={doubled}"
    if values["model"]["type"] == "pretrained" and "adapter" not in values:
        yield "adapter.type=lora"
    if compute["mixed_precision"] == "fp32" and compute["device"] != "mps":
        yield "compute.mixed_precision=bf16"
    if training["optimizer"]["type"] in ("adam", "adamw", "prodigy") and compute["device"] == "cuda":
        yield "training.optimizer.type=adamw_8bit"
    yield f"data.resolution={max(8, values['data']['resolution'] // 2 // 8 * 8)}"


def drawing_mends(values: dict[str, Any]) -> Iterator[str]:
    """What to write on the command line so that drawing takes less memory, the most effective first."""
    sampling, compute = values["sampling"], values["compute"]
    if sampling["batch_size"] > 1:
        yield f"sampling.batch_size={sampling['batch_size'] // 2}"
    if values["model"]["type"] != "pretrained":
        return
    if compute["device"] != "cpu" and compute["offload"] != "sequential":
        yield f"compute.offload={'model' if compute['offload'] == 'none' else 'sequential'}"
    if compute["dtype"] == "fp32":
        yield f"compute.dtype={'bf16' if compute['device'] == 'cpu' else 'fp16'}"
    if "height" not in sampling:
        return
    if not compute["vae_tiling"]:
        yield "compute.vae_tiling=true"
    if sampling["batch_size"] > 1 and not compute["vae_slicing"]:
        yield "compute.vae_slicing=true"
    if not compute["attention_slicing"]:
        yield "compute.attention_slicing=true"
    if sampling["height"] and sampling["width"]:
        height, width = (max(8, side // 2 // 8 * 8) for side in (sampling["height"], sampling["width"]))
        yield f"sampling.height={height} sampling.width={width}"
