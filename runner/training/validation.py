"""The validation loss: of pictures that are held out, at the same timesteps and noise each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator

from runner.data.batches import Batches
from runner.models.trainable import Trainable
from runner.training.together import Objective


def validation(
    family: Trainable,
    batches: Batches,
    indices: Sequence[int],
    objective: Objective,
    accelerator: Accelerator,
    training: dict[str, Any],
) -> Callable[[], float] | None:
    """What computes the mean loss of the pictures `indices` with the model as it stands; None without such pictures.

    Several processes share the work, and all have the mean.
    """
    rank, processes = accelerator.process_index, accelerator.num_processes

    @torch.no_grad()
    def loss() -> float:
        total = torch.zeros((), device=accelerator.device)
        for batch in islice(batches.validation(indices), rank, None, processes):
            moved = batch.to(accelerator.device)
            with accelerator.autocast():
                losses = objective(family, moved, training)
            total += (losses * moved.weight).sum()
        return float(accelerator.reduce(total).item())

    return loss if len(indices) else None
