"""The sampler of models that diffusers has no complete pipeline for: noise to sample, with any of its schedulers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any, Protocol

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor


class Tick(Protocol):
    """Called after each denoising step; may raise to stop the drawing."""

    def __call__(self) -> None: ...


@contextmanager
def ambient(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's own generators begin with `seed` inside, and are as before after it.

    For diffusers' pipelines that hand a sampler no generator, so that stochastic_sampling can be repeated.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@torch.inference_mode()
def denoise(
    predict: Callable[[Tensor, Tensor], Tensor],
    scheduler: Any,
    *,
    shape: tuple[int, ...],
    generators: Sequence[torch.Generator],
    steps: int,
    device: torch.device,
    eta: float,
    keep: int,
    tick: Tick,
) -> tuple[Tensor, list[Tensor]]:
    """Reverse diffusion from noise, as diffusers' DDPMPipeline and DDIMPipeline do it.

    Args:
        predict: the model's output for (x, t).
        scheduler: any diffusers scheduler.
        shape: one sample's shape (C, H, W).
        generators: one CPU generator per sample; a sample's noise comes from its own only.
        steps: num_inference_steps.
        device: where to compute.
        eta: DDIM's η; other schedulers have none.
        keep: how many moments to return, evenly spaced, the noise first and the sample last; 0 for none.
        tick: called after each step.

    Returns:
        The samples (B, C, H, W), and the kept moments, each (B, C, H, W).
    """
    takes = signature(scheduler.step).parameters
    options = {"generator": list(generators), "eta": eta}
    options = {name: value for name, value in options.items() if name in takes}
    scheduler.set_timesteps(steps)
    x = randn_tensor((len(generators), *shape), generator=list(generators), device=device)
    x = x * scheduler.init_noise_sigma
    timesteps = scheduler.timesteps
    kept = _places(keep, len(timesteps))
    moments = []
    # The scheduler reads its timesteps where its tables are; the model's go to the device once, not at each step.
    for i, (t, t_there) in enumerate(zip(timesteps, timesteps.to(device), strict=True)):
        scaled = scheduler.scale_model_input(x, t)
        if i in kept:
            moments.append(scaled)  # scaled as the model sees it, so that every moment can be shown as a picture
        output = predict(scaled, t_there).to(x.dtype)  # half precision ends here
        x = scheduler.step(output, t, x, **options).prev_sample
        tick()
    if keep:
        moments.append(x)
    return x, moments


def _places(keep: int, steps: int) -> set[int]:
    """The steps before which a moment is kept: keep - 1 of them, evenly spaced from the first."""
    return {round(i * steps / max(keep - 1, 1)) for i in range(keep - 1)}
