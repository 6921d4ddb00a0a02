"""The numbers of the training stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runner.data.batches import Work
from runner.models import family_class
from runner.models.counting import Count, learning, parameters
from runner.models.family import WIDTHS, Facts

# Bytes of optimizer state per parameter; adafactor keeps rows and columns only, next to nothing.
_OPTIMIZER_BYTES = {"adamw": 8, "adam": 8, "sgd": 4, "adafactor": 0, "adamw_8bit": 2, "prodigy": 16}


@dataclass(frozen=True)
class Training:
    """The numbers of the training stage.

    Attributes:
        steps: optimizer steps; images: pictures seen, repeats included. None while epochs of unknown size are asked.
        epochs: passes over the data, None while its size is unknown.
        parameters: those that learn.
        flops: of one optimizer step, forward and backward.
        memory: bytes by what holds them, of the training itself.
    """

    steps: int | None
    images: int | None
    epochs: float | None
    parameters: int
    flops: int
    memory: dict[str, int]


def _count(model: Facts, values: dict[str, Any]) -> tuple[int, Count]:
    """The denoiser's parameters, and one training picture's forward pass."""
    family = family_class(model.family)
    denoiser = next(iter(family.skeletons(model).values()))
    checkpointed = values["training"]["gradient_checkpointing"]
    forward = learning(denoiser, lambda: family.rehearse(denoiser, model, None), checkpointed=checkpointed)
    return parameters(denoiser), forward


def training(values: dict[str, Any], model: Facts, pictures: int | None) -> Training:
    """What training this model on `pictures` pictures (None: not known yet) takes."""
    section = values["training"]
    known = pictures is not None or not section["num_train_epochs"]
    work = Work.of(section, pictures or 1)
    learn, forward = _count(model, values)
    weights = 4 * learn
    memory = {
        "weights": weights,
        "gradients": weights,
        "optimizer": _OPTIMIZER_BYTES[section["optimizer"]["type"]] * learn,
        "average": weights if "ema" in section else 0,
        "activations": forward.activations * WIDTHS[values["compute"]["mixed_precision"]] // 4 * section["batch_size"],
    }
    # A backward pass costs twice a forward pass.
    flops = 3 * forward.flops * work.samples_per_step
    epochs = work.samples / pictures if pictures else None
    steps, images = (work.steps, work.samples) if known else (None, None)
    return Training(steps, images, epochs, learn, flops, memory)
