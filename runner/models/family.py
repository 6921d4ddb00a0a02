"""What every model family offers: the doors through which training and sampling use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from PIL import Image
from torch import Tensor, nn

from runner.data.batches import Batch
from runner.diffusion.denoise import Tick
from runner.diffusion.schedules import Schedule


@dataclass(frozen=True)
class Facts:
    """What is known of a model from its recipe, or from its configuration files and headers, without its weights.

    Attributes:
        family: the file under runner/models/ that builds it.
        configs: the constructor arguments of each part, by part name.
        classes: the class names that it was told about, in the order of their embeddings.
        folder: where its weights lie; None for random weights.
    """

    family: str
    configs: dict[str, dict[str, Any]]
    classes: list[str] = field(default_factory=list)
    folder: Path | None = None


@dataclass(frozen=True)
class Moments:
    """A picture in the space where diffusion happens: its mean, (B, C, H, W)."""

    mean: Tensor

    def sample(self) -> Tensor:
        """One sample per picture, shape (B, C, H, W)."""
        return self.mean


@dataclass(frozen=True)
class Request:
    """Pictures to draw together.

    Attributes:
        labels: a class index per picture, or None.
        num_inference_steps, guidance_scale, eta: as in the recipe's `sampling`.
        scheduler: the resolved `sampling.scheduler`, or None for the model's own.
        moments: how many moments of the denoising to keep as pictures, 0 for none.
    """

    labels: list[int] | None
    num_inference_steps: int
    guidance_scale: float
    eta: float
    scheduler: dict[str, Any] | None
    moments: int = 0


@dataclass(frozen=True)
class Drawn:
    """Pictures in the order asked for, and for each the kept moments of its denoising, noise first."""

    images: list[Image.Image]
    moments: list[list[Image.Image]]


class Family(Protocol):
    """A model that can be trained and drawn from."""

    parts: dict[str, nn.Module]
    schedule: Schedule
    sample_shape: tuple[int, ...]
    facts: Facts

    @classmethod
    def inspect(cls, folder: Path) -> Facts:
        """The facts of a saved model, without its weights."""
        ...

    @classmethod
    def skeleton(cls, facts: Facts) -> Any:
        """The denoiser without memory for its weights: to count, and to compare files with."""
        ...

    @classmethod
    def rehearse(cls, skeleton: Any, facts: Facts) -> Tensor:
        """The skeleton's output for one picture."""
        ...

    @classmethod
    def toy(cls, folder: Path) -> None:
        """Saves a tiny model with random weights, which stands in for a pretrained one in a rehearsal."""
        ...

    @classmethod
    def build(cls, facts: Facts, *, device: torch.device, seed: int) -> Self:
        """The model on `device`: its folder's weights, or random ones that follow from `seed`."""
        ...

    def encode(self, pixels: Tensor) -> Moments:
        """uint8 pixels (B, 3, H, W) as what the denoiser works on."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """The denoiser's space as pictures in [0, 1], (B, 3, H, W)."""
        ...

    def condition(self, batch: Batch) -> dict[str, Tensor]:
        """The keyword arguments of the denoiser besides sample and timestep."""
        ...

    def predict(self, x_t: Tensor, t: Tensor, cond: dict[str, Tensor]) -> Tensor:
        """The denoiser's output at timesteps t (B,)."""
        ...

    def calls(self, request: Request) -> int:
        """How many denoising steps `draw` makes for one request: some samplers take two a step."""
        ...

    def draw(self, request: Request, generators: Sequence[torch.Generator], tick: Tick) -> Drawn:
        """One picture per generator; `tick` is called after each denoising step."""
        ...

    def save(self, folder: Path) -> None:
        """A folder in diffusers' layout."""
        ...
