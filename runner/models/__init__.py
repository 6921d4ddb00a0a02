"""One file per model family, and the one place that picks it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_FAMILIES = {
    "pixel_unet": ("runner.models.pixel_unet", "PixelUNet"),
    "stable_diffusion": ("runner.models.stable_diffusion", "StableDiffusion"),
    "stable_diffusion_xl": ("runner.models.stable_diffusion_xl", "StableDiffusionXL"),
    "sdxl_refiner": ("runner.models.sdxl_refiner", "SDXLRefiner"),
    "stable_diffusion_3": ("runner.models.stable_diffusion_3", "StableDiffusion3"),
    "flux": ("runner.models.flux", "Flux"),
}
_NEW = {
    "autoencoder_kl": ("runner.models.autoencoder_kl", "AutoencoderKLFamily"),
    "latent_unet": ("runner.models.latent_unet", "LatentUNet"),
}
"""Models that only a recipe describes: saved ones are of another family, or part of one."""

FAMILIES = tuple(_FAMILIES)
"""Their names, as `model.family` gives them."""


def family_class(name: str) -> Any:
    """The class of a family, imported when it is first asked for."""
    module, attribute = (_FAMILIES | _NEW)[name]
    return getattr(import_module(module), attribute)
