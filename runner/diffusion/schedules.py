"""Noise schedules: how a picture is mixed with noise, and what a model is asked to predict."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class Schedule(Protocol):
    """What the objective needs of a forward process. Shapes: x0, eps, x_t (B, …); t, u, weights (B,)."""

    def times(self, u: Tensor, shape: torch.Size) -> Tensor:
        """Timesteps from uniform numbers `u` in [0, 1)."""
        ...

    def mix(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The noised sample x_t."""
        ...

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the model should predict at x_t."""
        ...

    def weight(self, t: Tensor, snr_gamma: float | None) -> Tensor:
        """The weight of each sample's loss."""
        ...


class DiscreteSchedule:
    """DDPM's forward process (Ho et al. 2020, eq. 4): x_t = sqrt(ᾱ_t) x0 + sqrt(1 - ᾱ_t) eps.

    Args:
        scheduler: a diffusers scheduler with `alphas_cumprod`; its configuration names the prediction type.
        device: where the tables lie.
    """

    def __init__(self, scheduler: Any, device: torch.device | str) -> None:
        alphas_cumprod: Tensor = scheduler.alphas_cumprod.to(device)
        self.signal = alphas_cumprod.sqrt()
        self.noise = (1 - alphas_cumprod).sqrt()
        self.snr = alphas_cumprod / (1 - alphas_cumprod)
        self.prediction_type: str = scheduler.config.prediction_type

    def times(self, u: Tensor, _shape: torch.Size) -> Tensor:
        """Every timestep equally often: floor(u T)."""
        steps = len(self.signal)
        return (u * steps).long().clamp_(max=steps - 1)

    def mix(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return _wide(self.signal[t], x0) * x0 + _wide(self.noise[t], x0) * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The noise, the picture, or v = sqrt(ᾱ_t) eps - sqrt(1 - ᾱ_t) x0 (Salimans and Ho 2022)."""
        if self.prediction_type == "epsilon":
            return eps
        if self.prediction_type == "sample":
            return x0
        return _wide(self.signal[t], x0) * eps - _wide(self.noise[t], x0) * x0

    def weight(self, t: Tensor, snr_gamma: float | None) -> Tensor:
        """Min-SNR-γ (Hang et al. 2023, eq. 6): min(SNR, γ) over the SNR that the prediction type implies."""
        if snr_gamma is None:
            return torch.ones_like(self.snr[t])
        snr = self.snr[t]
        implied = {"epsilon": snr, "sample": torch.ones_like(snr), "v_prediction": snr + 1}[self.prediction_type]
        return snr.clamp(max=snr_gamma) / implied


def density(u: Tensor, training: dict[str, Any]) -> Tensor:
    """Where in [0, 1] the timesteps lie that uniform numbers `u` choose.

    logit_normal prefers the middle (Esser et al. 2024, section 3.1): sigmoid(m + s z), with z = Φ⁻¹(u) standard normal.
    """
    if training["timestep_sampling"] == "uniform":
        return u
    return torch.sigmoid(training["logit_mean"] + training["logit_std"] * torch.special.ndtri(u))


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, 1, …) of the dimensions and number format of `like`."""
    return values.to(like.dtype).view(-1, *[1] * (like.dim() - 1))
