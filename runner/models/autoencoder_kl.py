"""A VAE from random weights: diffusers' AutoencoderKL, which turns pictures into latents and back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from runner.models.family import Facts
from runner.models.parts import skeleton
from runner.models.trainable import Moments

if TYPE_CHECKING:
    from runner.progress import Progress

KEYS = ("block_out_channels", "layers_per_block", "latent_channels", "norm_num_groups", "mid_block_add_attention")
"""The keys of a `model` section that make the VAE."""


class AutoencoderKLFamily:
    """An AutoencoderKL that learns by `runner.diffusion.objectives.autoencode`; it draws only what it is shown."""

    KEYS: ClassVar[frozenset[str]] = frozenset()
    GPU_DTYPE: ClassVar[str] = "fp32"
    DENOISER: ClassVar[str] = "vae"
    TEXT_PARTS: ClassVar[tuple[str, ...]] = ()
    PIXEL_PARTS: ClassVar[tuple[str, ...]] = ("vae",)
    FROZEN: ClassVar[tuple[str, ...]] = ()

    def __init__(self, vae: Any, facts: Facts) -> None:
        self.vae = vae
        self.facts = facts
        self.parts: dict[str, nn.Module] = {"vae": vae}

    @classmethod
    def from_recipe(cls, model: dict[str, Any], resolution: int) -> Facts:
        """The facts of a model that a settled `model` section describes, for pictures of this width and height."""
        levels = len(model["block_out_channels"])
        config = {key: model[key] for key in KEYS} | {
            "down_block_types": ["DownEncoderBlock2D"] * levels,
            "up_block_types": ["UpDecoderBlock2D"] * levels,
            "sample_size": resolution,
            "scaling_factor": 1.0,  # until `measure` has seen latents
        }
        return Facts("autoencoder_kl", {"vae": config})

    @staticmethod
    def vae_scale_factor(facts: Facts) -> int:
        """Pixels a latent stands for, along each side."""
        return int(2 ** (len(facts.configs["vae"]["block_out_channels"]) - 1))

    @classmethod
    def skeletons(cls, facts: Facts) -> dict[str, nn.Module]:
        """See `Family.skeletons`."""
        return {"vae": skeleton("AutoencoderKL", facts.configs["vae"])}

    @classmethod
    def rehearse(cls, denoiser: Any, facts: Facts, sampling: dict[str, Any] | None) -> Tensor:  # noqa: ARG003 - one size
        """One picture encoded and decoded by `denoiser`, the VAE."""
        size = facts.configs["vae"]["sample_size"]
        picture: Tensor = denoiser(torch.zeros(1, 3, size, size, device=denoiser.device)).sample
        return picture

    @classmethod
    def build(
        cls,
        facts: Facts,
        *,
        device: torch.device,
        seed: int,
        compute: dict[str, Any],  # noqa: ARG003 - weights that learn are fp32
        progress: Progress,  # noqa: ARG003 - nothing is loaded
    ) -> Self:
        """See `Family.build`: weights that follow from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            vae = AutoencoderKL.from_config(facts.configs["vae"])
        return cls(vae.eval().to(device), facts)

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """See `Trainable.shape`."""
        factor = self.vae_scale_factor(self.facts)
        return (self.vae.config["latent_channels"], height // factor, width // factor)

    def autoencode(self, pixels: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Pictures that went through latents, as gradients can follow them.

        Args:
            pixels: uint8 (B, 3, H, W).
            noise: standard normal noise that samples the latents, of `shape`; None takes their means.

        Returns:
            The pictures in about [-1, 1], (B, 3, H, W), and the KL divergence of each one's latents from a standard
            normal distribution, summed over them, (B,), float32.
        """
        posterior = self._posterior(pixels)
        latents = Moments(posterior.mean, posterior.std).sample(noise)
        return self.vae.decode(latents.to(self.vae.dtype)).sample, posterior.kl()

    @torch.no_grad()
    def reconstruct(self, pixels: Tensor) -> Tensor:
        """uint8 pixels (B, 3, H, W) as the VAE shows them again, in [0, 1]."""
        pictures, _ = self.autoencode(pixels, None)
        return (pictures.float() / 2 + 0.5).clamp(0, 1)

    def cautions(self) -> list[str]:
        """See `Trainable.cautions`."""
        return []

    @torch.no_grad()
    def measure(self, batches: Iterable[Tensor]) -> None:
        """Sets the scaling factor by which latents of these pictures have unit variance (Rombach et al. 2022, G).

        Args:
            batches: uint8 pixels, each (B, 3, H, W).
        """
        posteriors = [self._posterior(pixels) for pixels in batches]
        means = torch.cat([posterior.mean for posterior in posteriors])
        chance = torch.cat([posterior.var for posterior in posteriors])
        std = (means.var(correction=0) + chance.mean()).sqrt().item()
        self.vae.register_to_config(scaling_factor=1 / std)

    def save(self, folder: Path) -> None:
        """An AutoencoderKL's folder, as `model.vae.id` of a recipe reads it."""
        self.vae.save_pretrained(folder)

    def _posterior(self, pixels: Tensor) -> Any:
        """The distribution of the latents, unscaled, in float32."""
        moments = self.vae.encode(pixels.to(self.vae.dtype) / 127.5 - 1).latent_dist.parameters
        return DiagonalGaussianDistribution(moments.float())
