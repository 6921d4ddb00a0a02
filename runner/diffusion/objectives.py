"""Objectives: one loss per sample, shape (B,)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from runner.data.batches import Batch
from runner.diffusion.schedules import density
from runner.models.trainable import Moments, Trainable


def denoise(family: Trainable, batch: Batch, training: dict[str, Any]) -> Tensor:
    """The mean squared error of the model's prediction at a random timestep (Ho et al. 2020, eq. 14).

    With `input_perturbation` the picture is mixed with noise a little apart from the noise that is asked for (Ning et
    al. 2023).

    Args:
        family: the model with its schedule.
        batch: pictures or their moments, with the noise and the uniform numbers drawn for them.
        training: the settled section: `snr_gamma`, and which timesteps are drawn how often.

    Returns:
        One weighted loss per sample, shape (B,), float32.
    """
    schedule = family.schedule
    x0 = latents(family, batch)
    t = schedule.times(density(batch.u, training), x0.shape)
    x_t = schedule.mix(x0, batch.eps if batch.perturbed is None else batch.perturbed, t)
    prediction = family.predict(x_t, t, family.condition(batch))
    error = F.mse_loss(prediction.float(), schedule.target(x0, batch.eps, t).float(), reduction="none")
    return error.flatten(1).mean(1) * schedule.weight(t, training["snr_gamma"])


def latents(family: Trainable, batch: Batch) -> Tensor:
    """The pictures of a batch in the space where diffusion happens: a sample of their moments, float32."""
    if batch.moments is not None:
        mean, std = batch.moments.float().unbind(1)
        return Moments(mean, std).sample(batch.posterior)
    assert batch.pixels is not None
    with torch.no_grad():
        return family.encode(batch.pixels).sample(batch.posterior)


def autoencode(family: Any, batch: Batch, training: dict[str, Any]) -> Tensor:
    """What a picture loses on its way through latents, and a little of how far these are from a standard normal.

    The error is the mean over pixels in [-1, 1] of absolute and squared differences together: the first keeps edges,
    the second colours. The KL divergence is summed over a picture's latents (Kingma and Welling 2014, appendix B).

    Args:
        family: an `AutoencoderKLFamily`.
        batch: pictures, and as `posterior` the noise that samples their latents.
        training: the settled section: `kl_weight`.

    Returns:
        One loss per sample, shape (B,), float32.
    """
    assert batch.pixels is not None
    pictures, divergence = family.autoencode(batch.pixels, batch.posterior)
    difference = pictures.float() - (batch.pixels.float() / 127.5 - 1)
    error = difference.abs() + difference.square()
    return error.flatten(1).mean(1) + training["kl_weight"] * divergence


def objective_of(model_type: str) -> Callable[[Any, Batch, dict[str, Any]], Tensor]:
    """The objective of a `model.type`."""
    return autoencode if model_type == "autoencoder_kl" else denoise
