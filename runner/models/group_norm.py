"""GroupNorm in a form that torch's compiler makes fast loops of on a CPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn


class ByChannel(nn.GroupNorm):
    """Sums over a channel's pixels first, over the channels of a group then; what is not compiled is as it was.

    Moments as torch's own kernel takes them in channels_last (aten/src/ATen/native/cpu/group_norm_kernel.cpp): the
    mean, and the mean of squares less its square, in fp32.
    """

    members: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.ndim < 3 or not torch.compiler.is_compiling():
            return super().forward(x)
        pixels = tuple(range(2, x.ndim))
        wide = x.float()
        sums = torch.cat((wide.sum(pixels), (wide * wide).sum(pixels))).unflatten(1, (self.num_groups, -1)).sum(2)
        # Handed back to the channels by a sum, which ends the compiler's loop (of over eight groups): nothing of it is
        # computed anew for each pixel. Not by a product of matrices, which autocast makes narrow; and of code with
        # an autocast of its own torch does not keep the trace, which is most of a warm start.
        within = (sums.unsqueeze(2) * self.members).sum(1) * (x.shape[0] * self.num_groups / x.numel())
        mean, square = within.chunk(2)
        scale = torch.rsqrt((square - mean * mean).clamp_min(0) + self.eps) * self.weight
        shift = self.bias - mean * scale
        over = (*x.shape[:2], *(1 for _ in pixels))
        return (wide * scale.view(over) + shift.view(over)).to(x.dtype)


@contextmanager
def by_channel(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Compiled inside, each GroupNorm in the modules takes the form of this file, which rounds otherwise."""
    found = [norm for module in modules for norm in module.modules() if type(norm) is nn.GroupNorm and norm.affine]
    for norm in found:
        norm.__class__ = ByChannel
        norm.members = _members(norm.num_channels, norm.num_groups)
    try:
        yield
    finally:
        for norm in found:
            norm.__class__ = nn.GroupNorm
            del norm.members


@cache
def _members(channels: int, groups: int) -> Tensor:
    """Which channels are a group's: (groups, channels), ones and zeros."""
    return (torch.arange(groups)[:, None] == torch.arange(channels) // (channels // groups)).float()
