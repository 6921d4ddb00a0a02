"""Several processes learn as one: every process has a share of each step's samples, and all have the mean gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from runner.data.batches import Batch
from runner.models.trainable import Trainable
from runner.training.ema import EMA
from runner.training.rows import Rows
from runner.training.state import Tensors, load_optimizer_state, optimizer_state

_AWAY_FROM_0 = 1e-6  # what torch adds to the norm that it divides by
Objective = Callable[[Trainable, Batch, dict[str, Any]], Tensor]


class Learner(nn.Module):
    """What learns of any family as one module, which is what the engine shares gradients of."""

    def __init__(self, family: Trainable) -> None:
        super().__init__()
        learning = [name for name, part in family.parts.items() if any(p.requires_grad for p in part.parameters())]
        self.parts = nn.ModuleDict({name: family.parts[name] for name in learning})
        self.family = family

    def forward(self, objective: Objective, batch: Batch, training: dict[str, Any]) -> Tensor:
        """One loss per sample, shape (B,)."""
        return objective(self.family, batch, training)

    def learning(self) -> Iterator[tuple[str, nn.Parameter]]:
        """'<part>.<parameter>' and the parameter, of all that learn."""
        return ((name, p) for name, p in self.parts.named_parameters() if p.requires_grad)


class Together:
    """A family's learning parts in one process, where nothing is wrapped, or whole in each of several (DDP).

    Args:
        family: what learns of it requires gradients.
        accelerator: the engine, with its processes.
    """

    def __init__(self, family: Trainable, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._shared = accelerator.num_processes > 1
        self._learner: Any = Learner(family)
        self._rows: Rows | None = None

    def prepare(
        self, optimizer: Optimizer, parameters: Mapping[str, nn.Parameter]
    ) -> tuple[Any, dict[str, nn.Parameter]]:
        """The engine's optimizer, and the parameters that learn from now on, by the names of those that are given."""
        # A text encoder may have layers that nothing is read from, and so gradients that never come.
        texts = any(name in self._learner.family.TEXT_PARTS for name in self._learner.parts)
        if optimizer.defaults.get("fused") and self._accelerator.device.type == "cpu" and not texts:
            self._rows = Rows(optimizer)
        if self._shared:
            self._accelerator.ddp_handler = DistributedDataParallelKwargs(
                broadcast_buffers=False, gradient_as_bucket_view=True, find_unused_parameters=texts
            )
            self._learner = self._accelerator.prepare_model(self._learner, device_placement=False)
        return self._accelerator.prepare_optimizer(optimizer, device_placement=False), dict(parameters)

    def average(self, parameters: Mapping[str, nn.Parameter], settings: dict[str, Any]) -> EMA:
        """The average of what learns."""
        return EMA(parameters, settings)

    def losses(self, objective: Objective, batch: Batch, training: dict[str, Any]) -> Tensor:
        """The losses of a batch, shape (B,)."""
        return self._learner(objective, batch, training)

    def syncing(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are shared after the `last` micro-batch of a step, and kept here after the others."""
        return nullcontext() if last or not self._shared else self._accelerator.no_sync(self._learner)

    def gather(self) -> None:
        """The gradients of the model's weights are the optimizer's from now on."""
        if self._rows is not None:
            self._rows.gather()

    def optimizer_state(self, optimizer: Optimizer) -> tuple[Tensors, dict[str, Any]]:
        """The optimizer's state, as a checkpoint holds it (see `state.optimizer_state`). All processes ask."""
        tensors, rest = optimizer_state(optimizer)
        return self._rows.apart(tensors, rest) if self._rows is not None else (tensors, rest)

    def load_optimizer_state(self, optimizer: Optimizer, tensors: Tensors, rest: dict[str, Any]) -> None:
        """The inverse of `optimizer_state`."""
        if self._rows is not None:
            tensors, rest = self._rows.joined(tensors, rest)
        load_optimizer_state(optimizer, tensors, rest)

    def clip(self, parameters: list[nn.Parameter], limit: float) -> Tensor:
        """Shortens gradients whose norm is above the limit; returns the norm that they had."""
        if self._accelerator.device.type != "cpu" or self._accelerator.scaler is not None:
            return cast(Tensor, self._accelerator.clip_grad_norm_(parameters, limit))
        # The same without multiplying all of them by 1: on a CPU nothing waits for the norm.
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        if norm + _AWAY_FROM_0 > limit:
            clip_grads_with_norm_(parameters, limit, norm)
        return norm

    def whole(self, tensors: Mapping[str, Tensor]) -> Tensors:
        """Weights as a checkpoint holds them. All processes ask."""
        return dict(tensors)

    def whole_average(self, ema: EMA) -> Tensors:
        """The same of the average."""
        return self.whole(ema.average)

    def parts(self, saved: Tensors, parameters: Mapping[str, Tensor]) -> Tensors:  # noqa: ARG002 - see `Sharded`
        """The inverse of `whole`, for these parameters: what this process holds of saved tensors."""
        return saved

    def parts_of_average(self, saved: Tensors, parameters: Mapping[str, Tensor]) -> Tensors:  # noqa: ARG002
        """The inverse of `whole_average`."""
        return saved

    def shown(self, ema: EMA | None) -> AbstractContextManager[None]:
        """The family holds the average, or else what was learned, inside. All processes ask."""
        return ema.applied() if ema is not None else nullcontext()

    def take(self, ema: EMA | None) -> None:
        """The family holds that for good."""
        if ema is not None:
            ema.take()


def together(family: Trainable, accelerator: Accelerator) -> Together:
    """The learning parts of a family as the engine's strategy has them."""
    if not accelerator.is_fsdp2:
        return Together(family, accelerator)
    from runner.training.sharded import Sharded

    return Sharded(family, accelerator)
