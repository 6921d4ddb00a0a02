"""Objectives: one loss per sample, shape (B,)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from runner.data.batches import Batch
from runner.models.family import Trainable


def denoise(family: Trainable, batch: Batch, *, snr_gamma: float | None) -> Tensor:
    """The mean squared error of the model's prediction at a random timestep (Ho et al. 2020, eq. 14).

    Args:
        family: the model with its schedule.
        batch: pictures with the noise and the uniform numbers drawn for them.
        snr_gamma: γ of min-SNR weighting, or None.

    Returns:
        One weighted loss per sample, shape (B,), float32.
    """
    schedule = family.schedule
    x0 = family.encode(batch.pixels).sample()
    t = schedule.times(batch.u, x0.shape)
    x_t = schedule.mix(x0, batch.eps, t)
    prediction = family.predict(x_t, t, family.condition(batch))
    error = F.mse_loss(prediction.float(), schedule.target(x0, batch.eps, t).float(), reduction="none")
    return error.flatten(1).mean(1) * schedule.weight(t, snr_gamma)
