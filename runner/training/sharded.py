"""Weights that several processes share out (PyTorch's FSDP2, by accelerate): each keeps a part of what learns.

A copy of the model learns in parts. The model itself waits, whole, in the machine's memory, and takes the copy's
weights where it is drawn from, judged or kept.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from runner.models.trainable import Trainable
from runner.training.ema import EMA
from runner.training.state import Tensors
from runner.training.together import Learner, Together

_UNIT = 2**20  # numbers: blocks with more are gathered by themselves while they work


def plugin() -> FullyShardedDataParallelPlugin:
    """What makes accelerate share out weights.

    Numbers are as wide as they are without it: accelerate's own policy would round batches, and with them timesteps and
    noise, and sum gradients in 16 bits.
    """
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        cpu_ram_efficient_loading=False,
        mixed_precision_policy=MixedPrecisionPolicy(cast_forward_inputs=False),
    )


class Sharded(Together):
    """A family whose learning parts are shared out; see `Together`."""

    def __init__(self, family: Trainable, accelerator: Accelerator) -> None:
        self._family, self._accelerator, self._shared = family, accelerator, True
        self._learner: Any = None
        self._rows = None

    def prepare(
        self, optimizer: Optimizer, parameters: Mapping[str, nn.Parameter]
    ) -> tuple[Any, dict[str, nn.Parameter]]:
        family = self._family
        self._whole = dict(parameters)
        resting = {id(part): part for part in family.parts.values() if not _learns(part)}
        learner = Learner(copy.deepcopy(family, resting))  # type: ignore[arg-type]
        names, copies = {id(p): name for name, p in parameters.items()}, dict(learner.learning())
        for group in optimizer.param_groups:
            group["params"] = [copies[names[id(p)]] for p in group["params"]]
        self._rest()
        self._accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap = _blocks(learner)
        self._learner, prepared = self._accelerator.prepare(learner, optimizer)
        learning = dict(self._learner.learning())
        return prepared, {name: learning[name] for name in parameters}

    def average(self, parameters: Mapping[str, nn.Parameter], settings: dict[str, Any]) -> EMA:
        return EMA({name: _part(p) for name, p in parameters.items()}, settings)

    def whole(self, tensors: Mapping[str, Tensor]) -> Tensors:
        return {name: _gathered(tensor).cpu() for name, tensor in tensors.items()}

    def whole_average(self, ema: EMA) -> Tensors:
        learning = dict(self._learner.learning())
        return self.whole({name: _like(part, learning[name]) for name, part in ema.average.items()})

    def parts(self, saved: Tensors, parameters: Mapping[str, Tensor]) -> Tensors:
        return {
            name: _shared_out(tensor, parameters[name]) if name in parameters else tensor
            for name, tensor in saved.items()
        }

    def parts_of_average(self, saved: Tensors, parameters: Mapping[str, Tensor]) -> Tensors:
        return {name: _part(tensor) for name, tensor in self.parts(saved, parameters).items()}

    def optimizer_state(self, optimizer: Optimizer) -> tuple[Tensors, dict[str, Any]]:
        tensors, rest = super().optimizer_state(optimizer)
        return self.whole(tensors), rest

    def load_optimizer_state(self, optimizer: Optimizer, tensors: Tensors, rest: dict[str, Any]) -> None:
        order = [p for group in optimizer.param_groups for p in group["params"]]
        parts = self.parts(tensors, {key: order[int(key.split(".")[0])] for key in tensors})
        super().load_optimizer_state(optimizer, parts, rest)

    def clip(self, parameters: list[nn.Parameter], limit: float) -> Tensor:
        return _gathered(cast(Tensor, self._accelerator.clip_grad_norm_(parameters, limit)))

    @contextmanager
    def shown(self, ema: EMA | None) -> Iterator[None]:
        self.take(ema)
        try:
            yield
        finally:
            self._rest()

    def take(self, ema: EMA | None) -> None:
        learning = {name: p.detach() for name, p in self._learner.learning()}
        found = self.whole(learning) if ema is None else self.whole_average(ema)
        with torch.no_grad():
            for name, parameter in self._whole.items():
                parameter.data = found[name].to(self._accelerator.device)
        for part in self._learning_parts():
            part.to(self._accelerator.device)

    def _rest(self) -> None:
        for part in self._learning_parts():
            part.to("cpu")

    def _learning_parts(self) -> list[nn.Module]:
        parts = {name.split(".", 1)[0] for name in self._whole}
        return [self._family.parts[name] for name in parts]


def _blocks(model: nn.Module) -> list[str]:
    """The classes of what a model has in lists, as its levels and their layers are, where it is large."""
    listed = [block for found in model.modules() if isinstance(found, nn.ModuleList) for block in found]
    large = [block for block in listed if sum(p.numel() for p in block.parameters()) > _UNIT and any(block.children())]
    return sorted({type(block).__name__ for block in large})


def _learns(part: nn.Module) -> bool:
    return any(p.requires_grad for p in part.parameters())


def _gathered(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _part(tensor: Tensor) -> Any:
    """This process's part, which is the tensor's own memory."""
    return cast(DTensor, tensor.detach()).to_local() if isinstance(tensor, DTensor) else tensor


def _like(part: Tensor, tensor: Tensor) -> Tensor:
    """A part as one of the same whole as `tensor`."""
    if not isinstance(tensor, DTensor):
        return part
    return DTensor.from_local(
        part, tensor.device_mesh, tensor.placements, run_check=False, shape=tensor.shape, stride=tensor.stride()
    )


def _shared_out(whole: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, the same in all processes, in parts as those of another."""
    if not isinstance(like, DTensor) or whole.shape != like.shape:
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)
