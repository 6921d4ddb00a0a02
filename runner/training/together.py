"""Several processes learn as one: every process has a share of each step's samples, and all have the mean gradient."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from runner.data.batches import Batch
from runner.models.trainable import Trainable

Objective = Callable[[Trainable, Batch, dict[str, Any]], Tensor]


class Learner(nn.Module):
    """What learns of any family as one module, which is what the engine shares gradients of."""

    def __init__(self, family: Trainable) -> None:
        super().__init__()
        learning = {
            name: part for name, part in family.parts.items() if any(p.requires_grad for p in part.parameters())
        }
        self.parts = nn.ModuleDict(learning)
        self.family = family

    def forward(self, objective: Objective, batch: Batch, training: dict[str, Any]) -> Tensor:
        """One loss per sample, shape (B,)."""
        return objective(self.family, batch, training)


class Together:
    """A family's learning parts in one process, where nothing is wrapped, or in several.

    Args:
        family: what learns of it requires gradients.
        accelerator: the engine, with its processes.
    """

    def __init__(self, family: Trainable, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._shared = accelerator.num_processes > 1
        self._learner: Any = Learner(family)
        if self._shared:
            # A text encoder may have layers that nothing is read from, and so gradients that never come.
            texts = any(name in family.TEXT_PARTS for name in self._learner.parts)
            accelerator.ddp_handler = DistributedDataParallelKwargs(
                broadcast_buffers=False, gradient_as_bucket_view=True, find_unused_parameters=texts
            )
            self._learner = accelerator.prepare_model(self._learner, device_placement=False)

    def losses(self, objective: Objective, batch: Batch, training: dict[str, Any]) -> Tensor:
        """The losses of a batch, shape (B,)."""
        return self._learner(objective, batch, training)

    def syncing(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are shared after the `last` micro-batch of a step, and kept here after the others."""
        return nullcontext() if last or not self._shared else self._accelerator.no_sync(self._learner)
