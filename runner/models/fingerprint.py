"""What weights are, in one word: the key of what was computed with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import nn


def fingerprint(parts: Iterable[nn.Module]) -> str:
    """A hex digest of these modules' classes, names, shapes, number formats and values."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(type(part).__name__.encode())
        for key, tensor in part.state_dict().items():
            digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
            raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(raw.numpy().data)
    return digest.hexdigest()
