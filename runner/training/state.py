"""A training run's whole state as plain tensors and JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Tensors = dict[str, Tensor]


def optimizer_state(optimizer: Optimizer) -> tuple[Tensors, dict[str, Any]]:
    """An optimizer's state: its tensors under '<parameter>.<name>', and everything else as JSON values."""
    saved = optimizer.state_dict()
    tensors: Tensors = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, entries in saved["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                numbers.setdefault(str(index), {})[name] = value
    return tensors, {"numbers": numbers, "param_groups": saved["param_groups"]}


def load_optimizer_state(optimizer: Optimizer, tensors: Tensors, rest: dict[str, Any]) -> None:
    """The inverse of `optimizer_state`."""
    state: dict[int, dict[str, Any]] = {int(index): dict(entries) for index, entries in rest["numbers"].items()}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": rest["param_groups"]})


def load_parameters(parameters: Mapping[str, nn.Parameter], tensors: Tensors) -> None:
    """Copies saved weights into the parameters of the same names."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
