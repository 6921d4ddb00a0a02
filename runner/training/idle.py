"""The parts of a model that training does not need once their work is cached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from runner.models.trainable import Trainable


def idle_parts(family: Any, parts: Mapping[str, nn.Module], values: dict[str, Any]) -> list[str]:
    """The names of the parts whose work is all in caches, or which only drawing uses.

    Args:
        family: a family or its class.
        parts: its parts, or their skeletons; what learns requires gradients.
        values: the settled recipe.
    """
    resting = {name for names in caches(family, parts, values).values() for name in names}
    needed = {family.DENOISER, *family.PIXEL_PARTS, *family.TEXT_PARTS} - resting
    return [name for name in parts if name not in needed]


def caches(family: Any, parts: Mapping[str, nn.Module], values: dict[str, Any]) -> dict[str, Sequence[str]]:
    """Which parts' work is computed once and kept, by the key of `training` that asks for it.

    Args:
        As `idle_parts`.
    """
    kinds = {"cache_latents": family.PIXEL_PARTS, "cache_text_embeddings": family.TEXT_PARTS}
    asked = {key: names for key, names in kinds.items() if names and values["training"][key]}
    learning = {name for name, part in parts.items() if any(p.requires_grad for p in part.parameters())}
    return {key: names for key, names in asked.items() if learning.isdisjoint(names)}


class Idle:
    """Keeps parts in the machine's memory while training, and on the device while drawing.

    Args:
        family: the model.
        names: the parts.
        device: where it computes.
    """

    def __init__(self, family: Trainable, names: Iterable[str], device: torch.device) -> None:
        self._parts = [family.parts[name] for name in names]
        self._device = device

    def rest(self) -> None:
        """The parts leave the device."""
        self._move(torch.device("cpu"))

    def wake(self) -> None:
        """The parts come back to the device."""
        self._move(self._device)

    @contextmanager
    def awake(self) -> Iterator[None]:
        """The parts are on the device inside."""
        self.wake()
        try:
            yield
        finally:
            self.rest()

    def _move(self, device: torch.device) -> None:
        for part in self._parts:
            part.to(device)
        if self._parts and self._device.type == "cuda":
            torch.cuda.empty_cache()
