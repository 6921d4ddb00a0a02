"""What a family that can learn offers beside drawing: the doors through which the one training loop uses it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor

from runner.data.batches import Batch
from runner.diffusion.schedules import Schedule
from runner.models.family import Family


@dataclass(frozen=True)
class Moments:
    """Pictures in the space where diffusion happens, as normal distributions.

    Attributes:
        mean: (B, C, H, W).
        std: of the same shape; None where nothing is left to chance, as in pixel space.
    """

    mean: Tensor
    std: Tensor | None = None

    def sample(self, noise: Tensor | None) -> Tensor:
        """One sample per picture, shape (B, C, H, W), by this standard normal noise."""
        if self.std is None or noise is None:
            return self.mean
        return self.mean + self.std * noise.to(self.mean)


class Trainable(Family, Protocol):
    """A family that can learn as well."""

    DENOISER: ClassVar[str]
    """The part that learns where a recipe does not say."""

    TEXT_PARTS: ClassVar[tuple[str, ...]]
    """The parts that read captions."""

    PIXEL_PARTS: ClassVar[tuple[str, ...]]
    """The parts between pictures and the space where diffusion happens."""

    FROZEN: ClassVar[tuple[str, ...]]
    """The parts that do not learn where a recipe does not say."""

    schedule: Schedule

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """The shape (C, h, w) of one sample's noise for pictures of this size in pixels."""
        ...

    def encode(self, pixels: Tensor) -> Moments:
        """uint8 pixels (B, 3, H, W) as what the denoiser works on."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """The denoiser's space as pictures in [0, 1], (B, 3, H, W)."""
        ...

    def embed(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """What the denoiser is told of texts, a row each; empty for models without text."""
        ...

    def tokenizer(self, text_part: str) -> Any:
        """The tokenizer of one of TEXT_PARTS."""
        ...

    def condition(self, batch: Batch) -> dict[str, Tensor]:
        """What the denoiser is told of each sample."""
        ...

    def predict(self, x_t: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
        """The denoiser's output at timesteps t (B,)."""
        ...

    def cautions(self) -> list[str]:
        """What a person should know before it is trained in the number format that it has."""
        ...

    def measure(self, batches: Iterable[Tensor]) -> None:
        """Takes from pictures, once the model is trained, what its configuration says of them.

        Args:
            batches: uint8 pixels, each (B, 3, H, W).
        """
        ...

    def save(self, folder: Path) -> None:
        """A folder in diffusers' layout."""
        ...
