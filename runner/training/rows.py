"""Weights that learn, many side by side in a row of memory, through which an optimizer walks in one go.

On a CPU torch's fused optimizers begin anew for each weight, and copy gradients in channels_last besides, to no use:
of a UNet2DModel with 330 weights and 6 million numbers, clipping, optimizer and average took 12 to 14 ms so, and take
9 to 10 in rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, count
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from runner.training.state import Tensors

_LONGEST = 2**16  # numbers, but for a weight that is longer: a sum over more loses digits, and a gradient's norm is one
_STEP = "step"  # what an optimizer counts for a whole row


class Rows:
    """What an optimizer steps in, in place of weights.

    Args:
        optimizer: one that treats each number by itself; it has no state yet, and has rows for parameters from now on.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._rows: list[_Row] = []
        self._weights, self._numbers = [], []  # of each group: the numbers of its weights, and of its rows
        weights, rows = count(), count()
        for group in optimizer.param_groups:
            own = [_Row(some) for some in _short(group["params"])]
            self._rows += own
            self._weights.append([next(weights) for _ in group["params"]])
            self._numbers.append([next(rows) for _ in own])
            group["params"] = [row.parameter for row in own]

    def gather(self) -> None:
        """The gradients of the weights become those of the rows."""
        for row in self._rows:
            row.gather()

    def apart(self, tensors: Tensors, rest: dict[str, Any]) -> tuple[Tensors, dict[str, Any]]:
        """An optimizer's state (`optimizer_state`) as it is without rows."""
        found: Tensors = {}
        for name, row, key, keys in self._kept(tensors):
            whole = tensors[key]
            parts = [whole.clone() for _ in keys] if name == _STEP else row.places(whole)
            found |= zip(keys, parts, strict=True)
        return found, _numbered(rest, self._weights)

    def joined(self, tensors: Tensors, rest: dict[str, Any]) -> tuple[Tensors, dict[str, Any]]:
        """The inverse of `apart`. A weight that had no gradient yet has no state without rows, and zeros in one."""
        found: Tensors = {}
        for name, row, key, keys in self._kept(tensors):
            if name == _STEP:
                found[key] = next((tensors[own] for own in keys if own in tensors), torch.zeros(()))
            else:
                weights = zip(keys, row.weights, strict=True)
                found[key] = row.filled([tensors.get(own, torch.zeros_like(weight)) for own, weight in weights])
        return found, _numbered(rest, self._numbers)

    def _kept(self, tensors: Tensors) -> Iterator[tuple[str, _Row, str, list[str]]]:
        """Of all that is kept of each row: its name, the row, its key there, and the keys of the row's weights."""
        for name in sorted({key.split(".", 1)[1] for key in tensors}):
            weights = count()
            for index, row in enumerate(self._rows):
                yield name, row, f"{index}.{name}", [f"{next(weights)}.{name}" for _ in row.weights]


def _numbered(rest: dict[str, Any], numbers: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What else a state holds, with other numbers for the parameters of its groups."""
    groups = [{**group, "params": own} for group, own in zip(rest["param_groups"], numbers, strict=True)]
    return {**rest, "param_groups": groups}


def _short(weights: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """The weights in their order, as many together as a row takes."""
    some: list[nn.Parameter] = []
    for weight in weights:
        if some and sum(w.numel() for w in some) + weight.numel() > _LONGEST:
            yield some
            some = []
        some.append(weight)
    yield some


class _Row:
    """Weights whose memory is the row's from now on.

    Attributes:
        parameter: all of them, (n,).
    """

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        self.weights = weights
        self._starts = [0, *accumulate(weight.numel() for weight in weights)]
        self.parameter = nn.Parameter(self.filled(weights))
        for weight, place in zip(weights, self.places(self.parameter.detach()), strict=True):
            weight.data = place

    def places(self, row: Tensor) -> Iterator[Tensor]:
        """Each weight's own place in numbers (n,), which lie in it as the weight's do."""
        for weight, start in zip(self.weights, self._starts, strict=False):
            yield row.as_strided(weight.shape, weight.stride(), start)

    def filled(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors of the weights' shapes in a row (n,)."""
        row = torch.empty(self._starts[-1], dtype=tensors[0].dtype)
        for tensor, place in zip(tensors, self.places(row), strict=True):
            place.copy_(tensor.detach())
        return row

    def gather(self) -> None:
        """The weights hand over their gradients; one that has none hands over zeros, and decays as others do."""
        row = torch.empty_like(self.parameter)
        for weight, place in zip(self.weights, self.places(row), strict=True):
            if weight.grad is None:
                place.zero_()
            else:
                place.copy_(weight.grad)
            weight.grad = None
        self.parameter.grad = row
