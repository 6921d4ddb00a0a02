"""The contract between data and models: what one forward pass is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

NO_CLASS = -1


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One forward pass: everything that chance decides is in it.

    Attributes:
        pixels: uint8 (B, 3, H, W), with the channels last in memory until `to`; None where `moments` are given.
        mirrored: bool (B,), which of them `to` is still to mirror from left to right; None for none.
        moments: mean and standard deviation of the pictures' latents, (B, 2, C, h, w); None where pixels are given.
        posterior: standard normal (B, C, h, w) that samples the VAE's moments; None where diffusion happens on pixels.
        eps: the noise, float32 (B, C, h, w), of the shape in which diffusion happens.
        perturbed: the noise that pictures are mixed with where that differs from `eps`, the one asked for; else None.
        u: uniform numbers in [0, 1) that choose the timesteps, (B,).
        weight: each sample's share of its optimizer step's loss, (B,).
        labels: class indices (B,), NO_CLASS where withheld or unknown; None for a model without classes.
        captions: a text per sample; () for a model without text.
        text: the captions' embeddings, a row per sample; {} where they are embedded anew.
        sizes: int64 (B, 6): height and width before scaling, top and left of the crop in the scaled picture (mirrored
            where the sample is), height and width of the crop (Podell et al. 2023, section 2.2).
        first: the global number of the first sample.
    """

    eps: Tensor
    u: Tensor
    weight: Tensor
    sizes: Tensor
    first: int
    pixels: Tensor | None = None
    mirrored: Tensor | None = None
    moments: Tensor | None = None
    posterior: Tensor | None = None
    perturbed: Tensor | None = None
    labels: Tensor | None = None
    captions: tuple[str, ...] = ()
    text: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.eps)

    def to(self, device: torch.device) -> Self:
        """The batch on `device`, copied without waiting where that is possible, with pictures as a model sees them."""
        waits = device.type != "cuda"  # elsewhere the copy may be read before it is made
        there = self._each(lambda tensor: tensor.to(device, non_blocking=not waits))
        pixels = there.pixels
        if pixels is not None and there.mirrored is not None:
            pixels = torch.where(there.mirrored[:, None, None, None], pixels.flip(3), pixels)
        return replace(there, pixels=None if pixels is None else pixels.contiguous(), mirrored=None)

    def pinned(self) -> Self:
        """The batch in memory from which a GPU copies while it computes: nobody waits for `to`."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The batch with every tensor changed."""
        held: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        held |= {name: change(value) for name, value in held.items() if isinstance(value, Tensor)}
        held["text"] = {name: change(rows) for name, rows in self.text.items()}
        return type(self)(**held)
