"""The parts that are not frozen learn themselves."""

from __future__ import annotations

from torch import nn

from runner.models.family import Trainable


def attach(family: Trainable, freeze: list[str]) -> dict[str, nn.Parameter]:
    """Makes the unfrozen parts learn and the frozen ones not.

    Args:
        family: the model.
        freeze: names of parts.

    Returns:
        '<part>.<parameter>' → parameter, those that learn, in the model's order.
    """
    learning: dict[str, nn.Parameter] = {}
    for name, part in family.parts.items():
        part.requires_grad_(name not in freeze)
        part.train(name not in freeze)
        if name not in freeze:
            learning |= {f"{name}.{key}": parameter for key, parameter in part.named_parameters()}
    return learning
