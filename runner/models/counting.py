"""Counting a model without its weights: parameters, operations, and what a backward pass must keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from runner.models.family import Facts


@dataclass(frozen=True)
class Count:
    """Of one picture: `forward_flops` (a multiply-add is two) and `activations`, the bytes kept in fp32."""

    parameters: int
    forward_flops: int
    activations: int


def count(cls: Any, facts: Facts, *, checkpointed: bool) -> Count:
    """Runs the family's skeleton once on torch's meta device, where tensors have shapes and no memory.

    Args:
        cls: the family's class.
        facts: what to build.
        checkpointed: whether gradient checkpointing is on.
    """
    skeleton = cls.skeleton(facts).train()
    if checkpointed:
        skeleton.enable_gradient_checkpointing()
    owned = {id(p) for p in skeleton.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in owned and tensor._base is None:
            kept[id(tensor)] = tensor
        elif tensor._base is not None and id(tensor._base) not in owned:
            kept[id(tensor._base)] = tensor._base
        return tensor

    with FlopCounterMode(display=False) as flops, saved_tensors_hooks(keep, lambda tensor: tensor):
        cls.rehearse(skeleton, facts)
    return Count(
        parameters=sum(p.numel() for p in skeleton.parameters()),
        forward_flops=flops.get_total_flops(),
        activations=sum(t.numel() * t.element_size() for t in kept.values()),
    )
