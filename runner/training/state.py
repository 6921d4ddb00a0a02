"""A training run's whole state as plain tensors and JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from runner.errors import CheckpointError
from runner.shown import shown

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
    """The inverse of `optimizer_state`.

    What belongs to each number of a weight lies in memory as the weight does, whatever its order in the file: fused
    optimizers walk through both side by side.
    """
    state: dict[int, dict[str, Any]] = {int(index): dict(entries) for index, entries in rest["numbers"].items()}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": rest["param_groups"]})
    for parameter, entries in optimizer.state.items():
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entries[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def load_parameters(into: Mapping[str, Tensor], saved: Tensors) -> None:
    """Copies saved weights into the tensors of the same names.

    Raises:
        CheckpointError: they have other names or shapes.
    """
    odd = [
        name
        for name in sorted(into.keys() | saved.keys())
        if name not in into or name not in saved or into[name].shape != saved[name].shape
    ]
    if odd:
        raise CheckpointError(
            f"the checkpoint is of another model: {len(odd)} of its tensors have other names or shapes "
            f"({', '.join(map(shown, odd[:3]))}): start anew with --fresh"
        )
    with torch.no_grad():
        for name, tensor in into.items():
            tensor.copy_(saved[name])
