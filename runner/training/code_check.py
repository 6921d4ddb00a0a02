"""Compiled code is tried on one batch before it trains: its gradients must be about as long as the model's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from runner.errors import EnvironmentFault
from runner.memory import ran_out
from runner.training.together import Objective

if TYPE_CHECKING:
    from runner.training.loop import Trainer

_FACTOR = 2.0  # bf16 and dropout, whose masks are others in compiled code, change the length of few gradients by more
_MOST = 0.1  # of the parameters


def require_true_gradients(trainer: Trainer, objective: Objective, seed: int) -> None:
    """Compares how long the gradients of one batch are by compiled code and without it; nothing of it stays.

    Where memory runs out in it, and a step may be split, nothing is compared.

    Raises:
        EnvironmentFault: they are others. torch's compiler has had faults that raise no error and train a model badly.
    """
    work = trainer.batches.work
    if not trainer.compiled.on or trainer.step >= work.steps or work.is_smaller(trainer.step):
        return  # no code is made, or none that is used
    try:
        with trainer.compiled.eagerly():
            expected = _gradients(trainer, objective, seed)
        found = _gradients(trainer, objective, seed)
    except (MemoryError, RuntimeError) as error:
        if not (ran_out(error) and trainer.training["on_oom"] == "shrink"):
            raise
        trainer.forget()  # the step itself makes its batches smaller
        return
    apart = sum(g.numel() for name, g in expected.items() if _differs(found.get(name), g))
    if apart > _MOST * sum(g.numel() for g in expected.values()):
        raise EnvironmentFault(
            f"the code that torch {torch.__version__} compiles computes other gradients than the model itself, for "
            f"{apart:,} of its parameters: write compute.compile: false"
        )


def _gradients(trainer: Trainer, objective: Objective, seed: int) -> dict[str, Tensor]:
    """Those of a step's first batch, in the machine's memory."""
    batches = trainer.batches
    batch = batches.ready(batches.work.micro_batches(trainer.step)[0])[0]
    trainer.backward(objective, batch.to(trainer.accelerator.device), seed, last=False)
    gradients = {name: p.grad.float().cpu() for name, p in trainer.parameters.items() if p.grad is not None}
    trainer.forget()
    return gradients


def _differs(found: Tensor | None, expected: Tensor) -> bool:
    length = expected.norm()
    if not 0 < length < torch.inf:  # a gradient scaler's first tries may be infinite
        return False
    return found is None or not length / _FACTOR <= found.norm() <= length * _FACTOR
