"""Dropout that follows from the seed and the samples, wherever a run was stopped and taken up again."""

from __future__ import annotations

import torch

DROPOUT_STREAM = 0x9E3779B9  # keeps dropout's seeds apart from those of other uses of torch's generator


def seed_dropout(device: torch.device, seed: int, first: int) -> None:
    """Seeds what dropout on a device draws from, for the micro-batch whose first sample has number `first`.

    torch.manual_seed takes half a millisecond: for each device that is not there it keeps the call with its stack.
    """
    number = (seed * DROPOUT_STREAM + first) % 2**63
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)
    else:
        torch.default_generator.manual_seed(number)
