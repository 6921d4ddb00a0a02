"""Counting a model without its weights: parameters, operations, and the memory that its activations take."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from runner.models.autocast import Autocast


@dataclass(frozen=True)
class Count:
    """Of one forward pass: `flops` (a multiply-add is two); bytes of `activations`, and of narrow copies of weights."""

    flops: int
    activations: int
    copies: int = 0


def parameters(module: torch.nn.Module) -> int:
    """How many numbers a module learns."""
    return sum(p.numel() for p in module.parameters())


def learning(
    skeleton: Any, forward: Callable[[], object], *, checkpointed: bool, autocast: Autocast | None = None
) -> Count:
    """A forward pass that a backward pass follows, on torch's meta device, where tensors have no memory.

    Args:
        skeleton: the module on the meta device; it is put into training mode.
        forward: runs it.
        checkpointed: whether gradient checkpointing is on.
        autocast: the number format that it computes in; None for the weights' own.

    Returns:
        `activations` are what the backward pass must keep; `copies` are those of weights that learn, and those that it
        needs of others.
    """
    skeleton.train()
    if checkpointed:
        skeleton.enable_gradient_checkpointing()
    owned = {id(p) for p in skeleton.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        whole = tensor if tensor._base is None else tensor._base
        if id(whole) not in owned:
            kept[id(whole)] = whole
        return tensor

    attention = _FusedAttention()
    saved = saved_tensors_hooks(keep, lambda tensor: tensor)
    with FlopCounterMode(display=False) as flops, saved, attention, autocast or nullcontext():
        forward()
    casts = [(weight, copy) for weight, copy in autocast.copies.items() if copy is not weight] if autocast else []
    copies = sum(_bytes(copy) for weight, copy in casts if weight.requires_grad or id(copy) in kept)
    for _, copy in casts:
        kept.pop(id(copy), None)
    return Count(flops.get_total_flops() + attention.flops, sum(map(_bytes, kept.values())), copies)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def drawing(forward: Callable[[], object]) -> Count:
    """A forward pass alone, on torch's meta device.

    Returns:
        `activations` are the most bytes that are alive at one time, beside the weights.
    """
    attention = _FusedAttention()
    with torch.no_grad(), FlopCounterMode(display=False) as flops, _Alive() as alive, attention:
        forward()
    return Count(flops.get_total_flops() + attention.flops, alive.peak)


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> None:
    """How torch's attention names what it takes."""


class _FusedAttention(TorchFunctionMode):
    """Attention as the fused kernels of CPUs and GPUs do it: the matrix of weights never stands in memory."""

    flops = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, value = inspect.signature(_attention).bind(*args, **(kwargs or {})).args[:3]
        rows, columns = query.shape[-2], key.shape[-2]
        self.flops += 2 * query.shape[:-2].numel() * rows * columns * (query.shape[-1] + value.shape[-1])
        output: torch.Tensor = _Attended.apply(query, key, value)
        return output


class _Attended(torch.autograd.Function):
    """What attention gives, and what a fused kernel keeps of it for the backward pass."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, output)
        return output


class _Alive(TorchDispatchMode):
    """Sums the storages that operations make, until Python lets go of them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        seen = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in seen:
                self._add(tensor)
        return result

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, storage._cdata, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
