"""The grids that are drawn on the way through training, always of the same noise."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from runner.data.cache import Pictures
from runner.models.trainable import Trainable
from runner.outputs.samples import Samples
from runner.sampling.gallery import Gallery


@dataclass(frozen=True)
class StepGrids:
    """Draws a model's grids into the run's samples/.

    Attributes:
        family: the model.
        pictures: what it learns from.
        training: the settled section.
        gallery: draws the `sampling` section; None for a model that only reconstructs pictures.
        autocast: the number format of the work.
    """

    family: Trainable
    pictures: Pictures
    training: dict[str, Any]
    samples: Samples
    gallery: Gallery | None
    autocast: Callable[[], AbstractContextManager[Any]]

    def has(self, step: int) -> bool:
        """Whether the grid of a step was kept."""
        return self.samples.has_step_grid(step)

    def draw(self, step: int) -> None:
        """Draws and keeps the grid of a step.

        Raises:
            EnvironmentFault: out of memory, or the disk refuses. Interrupted: a signal.
        """
        count = self.training["sample_images"]
        with self.autocast():
            if self.gallery is not None:
                self.gallery.step_grid(self.family, step, count, self.training["validation_prompts"])
            else:
                self.samples.step_grid(reconstructions(self.family, self.pictures, count), step)


def reconstructions(family: Any, pictures: Pictures, count: int) -> list[Image.Image]:
    """Pictures, spread over the set, each beside what is left of it after encoding and decoding."""
    device = next(family.parts[family.DENOISER].parameters()).device
    chosen = np.linspace(0, len(pictures) - 1, min(max(count // 2, 1), len(pictures))).round().astype(int)
    found = []
    for i in chosen.tolist():
        pixels = np.array(pictures[i])
        batch = torch.from_numpy(pixels.transpose(2, 0, 1))[None].to(device)
        decoded = family.reconstruct(batch)[0].float().cpu().permute(1, 2, 0).numpy()
        found += [Image.fromarray(pixels), Image.fromarray((decoded * 255).round().astype(np.uint8))]
    return found
