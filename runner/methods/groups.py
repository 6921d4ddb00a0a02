"""Weights that learn, by the learning rate they learn with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from runner.models.trainable import Trainable


@dataclass(frozen=True)
class Group:
    """Weights with one learning rate: '<part>.<parameter>' → parameter, in the model's order."""

    parameters: dict[str, nn.Parameter]
    learning_rate: float


def learning(parts: Iterable[nn.Module]) -> int:
    """How many numbers of these parts learn."""
    return sum(p.numel() for part in parts for p in part.parameters() if p.requires_grad)


def groups(family: Trainable, training: dict[str, Any]) -> list[Group]:
    """All weights of a family that learn, those of its text encoders apart.

    Args:
        family: its parts require gradients for what learns.
        training: the settled section. `scale_lr` multiplies the rates by the pictures in an optimizer step.
    """
    factor = training["batch_size"] * training["gradient_accumulation_steps"] if training["scale_lr"] else 1
    rate, text_rate = training["learning_rate"], training["text_encoder_learning_rate"]
    found: dict[float, dict[str, nn.Parameter]] = {}
    for name, part in family.parts.items():
        of_text = name in family.TEXT_PARTS and text_rate is not None
        own = {f"{name}.{key}": p for key, p in part.named_parameters() if p.requires_grad}
        part.train(bool(own))
        if own:
            found.setdefault(text_rate if of_text else rate, {}).update(own)
    return [Group(parameters, rate * factor) for rate, parameters in found.items()]
