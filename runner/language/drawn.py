"""What a recipe draws with, as rules ask for it: each of its samplers, and each number of steps."""

from __future__ import annotations

from typing import Any

from runner.language.view import View

# Families of latent models that predict noise or velocity.
NOISE_FAMILIES = {"stable_diffusion", "stable_diffusion_xl", "sdxl_refiner"}
FLOW_FAMILIES = {"stable_diffusion_3", "flux"}
# Types of models that learn the schedule which the recipe's own `scheduler` section holds.
SCHEDULED_HERE = {"pixel_unet", "latent_unet"}


def samplers(view: View) -> list[str]:
    """The sections that name the samplers: the matrix's entries, else the one section that holds."""
    if entries := view.entries("sampling.matrix.scheduler"):
        return entries
    return ["sampling.scheduler" if view.has("sampling.scheduler") else "scheduler"]


def step_counts(view: View) -> list[tuple[str, int]]:
    """Each place that gives a number of denoising steps, with the number; none where the model decides."""
    places = view.entries("sampling.matrix.num_inference_steps") or ["sampling.num_inference_steps"]
    return [(place, count) for place in places if isinstance(count := view.get(place), int)]


def option(view: View, section: str, key: str) -> Any:
    """A sampler's option: its own, else that of the schedule the model is trained with here; None if not known."""
    own = view.get(f"{section}.{key}")
    if own is None and view.get("model.type") in SCHEDULED_HERE:
        return view.get(f"scheduler.{key}")
    return own


def kind_of(kind: str) -> str:
    """A model's type or family in a sentence: 'a pixel_unet', 'an autoencoder_kl', 'an sdxl_refiner'."""
    return f"{'an' if kind.startswith(('a', 'sdxl')) else 'a'} {kind}"


def written_in(view: View, key: str) -> list[str]:
    """The places that give a key of `sampling`: its matrix's list, else the key itself if it is written."""
    if view.entries(f"sampling.matrix.{key}"):
        return view.entries(f"sampling.matrix.{key}")
    return [f"sampling.{key}"] if view.written(f"sampling.{key}") else []
