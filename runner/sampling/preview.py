"""One training picture at growing noise, from the recipe's own schedule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from runner.data.cache import Pictures
from runner.models.trainable import Trainable


@torch.no_grad()
def noised(family: Trainable, pictures: Pictures, timesteps: Sequence[int], seed: int) -> list[Image.Image]:
    """The first picture at each timestep, with the same noise throughout.

    Args:
        family: its schedule mixes, its space is decoded.
        pictures: the prepared data; the middle square of the first one is shown.
        timesteps: from 0 (all but clean) to the schedule's last (all but noise).
        seed: of the noise.
    """
    device = next(next(iter(family.parts.values())).parameters()).device
    square = _middle(pictures[0])
    pixels = torch.from_numpy(square.transpose(2, 0, 1).copy())[None].to(device)
    t = torch.tensor(list(timesteps), device=device)
    x0 = family.encode(pixels).sample(None).expand(len(t), -1, -1, -1)
    eps = torch.randn(x0.shape[1:], generator=torch.Generator("cpu").manual_seed(seed)).to(device).expand_as(x0)
    x_t = family.schedule.mix(x0, eps, t)
    arrays = (family.decode(x_t).cpu().permute(0, 2, 3, 1).float().numpy() * 255).round().astype(np.uint8)
    return [Image.fromarray(array) for array in arrays]


def _middle(pixels: np.ndarray) -> np.ndarray:
    height, width, _ = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]
