"""Pictures that keep a model's idea of a class while it learns one thing of it (DreamBooth, Ruiz et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from runner.data.cache import Pictures
from runner.data.latents import Latents


@dataclass(frozen=True)
class Prior:
    """What each micro-batch is followed by: as many pictures that the model drew itself, all with one caption.

    Attributes:
        weight: how much such a picture counts, where one of the data counts 1.
        latents: those of `pictures`, or None.
    """

    pictures: Pictures
    prompt: str
    weight: float
    latents: Latents | None = None
