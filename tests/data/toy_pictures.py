"""Prepared pictures without files, for what builds upon them."""

from types import MappingProxyType

import numpy as np
import torch


class ToyPictures:
    """Eleven small pictures of two classes, or as many as there are `shapes` (of the prepared pictures)."""

    classes = ("a", "b")

    def __init__(self, shapes=((12, 10),) * 11, sizes=None, *, repeats=None, captions=None, keys=None, size=8):
        count = len(shapes)
        self.shapes = shapes
        self.sizes = np.array(sizes if sizes is not None else [(size, size)] * count, np.int64)
        self.crops = np.array([((h - s) // 2, (w - z) // 2) for (h, w), (s, z) in zip(shapes, self.sizes, strict=True)])
        self.original_sizes = np.array([(w * 3, h * 3) for h, w in shapes], np.int64)
        self.repeats = np.array(repeats if repeats is not None else [1] * count, np.int64)
        self.labels = np.arange(count) % 2
        self.captions = captions or [f"picture {i}" for i in range(count)]
        self.keys = keys or {}
        self.fingerprint = f"{shapes}"

    def __len__(self):
        return len(self.shapes)

    def __getitem__(self, i):
        return np.random.default_rng(i).integers(0, 256, (*self.shapes[i], 3), dtype=np.uint8)

    def caption(self, i):
        return self.captions[i]

    def name(self, i):
        return f"{i}.png"

    def caption_keys(self, i):
        return MappingProxyType(self.keys.get(i, {}))


def encode(pixels):
    """Stands in for a VAE: the mean over 2 x 2 pixels as mean, and a spread that tells pictures apart."""
    small = pixels.float().unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5)) / 255
    return torch.stack([small, small.square() + 0.1], 1)


def latent_shape(height, width):
    """The shape of `encode`'s moments."""
    return (3, height // 2, width // 2)


TEXT = {"instance_prompt": None, "caption_templates": None, "trigger": None, "shuffle_tags": False}
TEXT |= {"caption_dropout_rate": 0.0}
"""The keys of a `data` section that decide captions, at their defaults."""
