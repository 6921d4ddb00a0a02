"""The numbers of the training stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from runner.data.batches import Work
from runner.methods import method_of
from runner.models import attention, family_class
from runner.models.autocast import Autocast
from runner.models.counting import Count, learning, parameters
from runner.models.family import DTYPES, WIDTHS, Facts
from runner.training.idle import caches, idle_parts

_OPTIMIZER_BYTES = {"adamw": 8, "adam": 8, "adamw_8bit": 2, "prodigy": 16}  # of state per parameter


@dataclass(frozen=True)
class Training:
    """The numbers of the training stage.

    Attributes:
        steps: optimizer steps; images: pictures seen, repeats included. None while epochs of unknown size are asked.
        epochs: passes over the data, None while its size is unknown.
        caches: the keys of `training` by which the work of frozen parts is done once and kept.
        parameters: those that learn.
        flops: of one optimizer step, forward and backward.
        memory: bytes by what holds them, of the training itself, in each of the processes.
        checkpoint: bytes of a checkpoint; saved: of what is kept of the model at the end.
    """

    steps: int | None
    images: int | None
    epochs: float | None
    caches: list[str]
    parameters: int
    flops: int
    memory: dict[str, int]
    checkpoint: int
    saved: int
    processes: int


def training(values: dict[str, Any], model: Facts, pictures: int | None) -> Training:
    """What training this model takes, where an epoch shows `pictures` pictures (None: not known yet)."""
    section = values["training"]
    # How the pictures fill the batches of their buckets is known once they are read.
    sized = pictures is not None and "aspect_ratio_buckets" not in values["data"]
    known = sized or not section["num_train_epochs"]
    shown = pictures - round(pictures * section["validation_split"]) if pictures else None
    work = Work.of(section, shown or 1)
    parts = family_class(model.family).skeletons(model)
    base = {name: parameters(part) for name, part in parts.items()}
    learn = method_of(values).mark(parts, values)
    state, saved = _optimizer_state(section["optimizer"], parts), _saved(values, parts, learn)
    forward = _forward(values, model, parts)
    processes, prior = values["compute"]["processes"], 2 if "prior" in values["data"] else 1
    rows = min(section["batch_size"], -(-work.samples_per_step // processes)) * prior
    memory = {
        "weights": _weights(values, model, parts, base),
        "gradients": 4 * learn,
        "optimizer": state,
        "average": 4 * learn if "ema" in section else 0,
        "narrow copies": forward.copies,
        "activations": forward.activations * rows,
    }
    if processes > 1 and values["compute"]["strategy"] == "fsdp":
        memory |= _sharded(memory, 4 * learn, processes)
    # A backward pass costs twice a forward pass, and once where the weights stay as they are.
    passes = 3 if "adapter" not in values else 2
    flops = passes * forward.flops * prior * work.samples_per_step
    epochs = work.samples / shown if shown else None
    steps, images = (work.steps, work.samples) if known else (None, None)
    checkpoint = 4 * learn + state + (4 * learn if "ema" in section else 0)
    kept = list(caches(family_class(model.family), parts, values))
    return Training(steps, images, epochs, kept, learn, flops, memory, checkpoint, saved, processes)


def _sharded(memory: dict[str, int], learning: int, processes: int) -> dict[str, int]:
    """What is left of it in each process where these share what learns, of which the weights have so many bytes."""
    weights = memory["weights"] - learning + learning // processes
    return {"weights": weights, **{key: memory[key] // processes for key in ("gradients", "optimizer", "average")}}


def _optimizer_state(section: dict[str, Any], parts: dict[str, Any]) -> int:
    """Bytes of what the optimizer keeps of each parameter that learns."""
    learning = [p for part in parts.values() for p in part.parameters() if p.requires_grad]
    if section["type"] == "sgd":
        return sum(4 * p.numel() for p in learning) if section["momentum"] else 0
    if section["type"] == "adafactor":  # sums over the last two dimensions (Shazeer and Stern 2018, algorithm 4)
        return 4 * sum(sum(p.numel() // side for side in p.shape[-2:]) if p.ndim > 1 else p.numel() for p in learning)
    return _OPTIMIZER_BYTES[section["type"]] * sum(p.numel() for p in learning)


def _saved(values: dict[str, Any], parts: dict[str, Any], learn: int) -> int:
    """Bytes of model/: what learned of an adapter in each of its formats, else the whole model."""
    if "adapter" in values:
        return 4 * learn * len({"diffusers", *values["output"]["formats"]})
    width = WIDTHS[values["compute"]["dtype"]]
    return sum(p.numel() * (4 if p.requires_grad else width) for part in parts.values() for p in part.parameters())


def _forward(values: dict[str, Any], model: Facts, parts: dict[str, Any]) -> Count:
    """One training picture's pass through the denoiser."""
    family, side = family_class(model.family), values["data"]["resolution"]
    denoiser = next(iter(parts.values()))
    if not any(p.requires_grad for p in denoiser.parameters()):
        denoiser.register_forward_pre_hook(_from_what_learns)
    size = {"height": side, "width": side}
    device, precision, dtype = (values["compute"][key] for key in ("device", "mixed_precision", "dtype"))
    for weight in denoiser.parameters():
        if precision != "fp32" and not weight.requires_grad:
            weight.data = weight.data.to(DTYPES[dtype])
    attention.lay_out(denoiser, values["compute"])
    return learning(
        denoiser,
        lambda: family.rehearse(denoiser, model, size),
        checkpointed=values["training"]["gradient_checkpointing"],
        autocast=Autocast(device, DTYPES[precision]) if precision != "fp32" else None,
    )


def _from_what_learns(_: Any, inputs: tuple[Any, ...]) -> None:
    """Gradients pass through the denoiser to the text encoder."""
    for tensor in inputs:
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
            tensor.requires_grad_()


def _weights(values: dict[str, Any], model: Facts, parts: dict[str, Any], base: dict[str, int]) -> int:
    """Bytes of the weights on the device while training: those of idle parts are not there."""
    idle = idle_parts(family_class(model.family), parts, values)
    width = WIDTHS[values["compute"]["dtype"]]
    total = 0
    for name, part in parts.items():
        learn = sum(p.numel() for p in part.parameters() if p.requires_grad)
        whole = learn == base[name]
        if name not in idle:
            total += 4 * learn + (0 if whole else base[name] * width)
    return total
