"""The latents of all pictures, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL
import torch
from torch import Tensor

from runner.data.built import built
from runner.data.cache import Pictures
from runner.data.draws import VARIANTS, rng
from runner.data.tensors import TensorStore
from runner.data.views import View, Views
from runner.data.workers import in_order

if TYPE_CHECKING:
    from runner.processes.world import World
    from runner.progress import Progress

_VERSION = 1
_MOST = 2**20  # variants of a picture, far more than a recipe may ask for


class Latents:
    """The moments of pictures' latents, one or several kept looks (variants) per picture. Get them with `build`.

    Where nothing or only the mirror image is drawn anew, all looks are kept, and samples see what they would see
    without a cache. Where crops or colours are drawn, `cache_variants` looks are kept, the first of which is the
    plain middle; they are the same for every seed.
    """

    def __init__(self, pictures: Pictures, data: Mapping[str, Any], cache_variants: int) -> None:
        self._views = Views(pictures, data)
        self._whole = self._views.augmentation["color_jitter"] is None and not self._views.cut_at_random()
        self.variants = (2 if self._views.augmentation["random_flip"] else 1) if self._whole else cache_variants
        self._store: TensorStore

    @classmethod
    def build(
        cls,
        pictures: Pictures,
        *,
        data: Mapping[str, Any],
        cache_variants: int,
        encode: Callable[[Tensor], Tensor],
        fingerprint: str,
        batch_size: int,
        cache_dir: Path,
        progress: Progress,
        world: World,
    ) -> Latents:
        """The latents of `pictures`, from the cache or encoded into it now.

        Args:
            data: the resolved `data` section (its augmentation).
            encode: from uint8 (B, 3, H, W) to means and standard deviations (B, 2, C, h, w).
            fingerprint: of everything that decides what `encode` returns.
            batch_size: pictures encoded together, all of one size.
            cache_dir: the cache root; this writes below `cache_dir/latents`.
            world: the processes that share the work.

        Raises:
            EnvironmentFault: the cache cannot be written.
        """
        latents = cls(pictures, data, cache_variants)
        key, root = latents._key(fingerprint), cache_dir / "latents"
        latents._store = built(
            root / key,
            len(pictures) * latents.variants,
            latents._batches(batch_size),
            lambda rows: {"moments": encode(latents._pixels(rows))},
            counted=("Encoding pictures", "view"),
            progress=progress,
            world=world,
        )
        return latents

    def draw(
        self, index: int, augment: np.random.Generator, variant: np.random.Generator
    ) -> tuple[Tensor, tuple[int, ...]]:
        """Moments (2, C, h, w) of a look at a picture, and its row of `Batch.sizes`.

        Args:
            augment: what draws the look without a cache, and here where all looks are kept.
            variant: what chooses one of the kept looks elsewhere.
        """
        if self._whole:
            view = self._views.drawn(index, augment)
            return self._moments(index, int(view.flipped)), view.sizes
        chosen = int(variant.integers(self.variants))
        return self._moments(index, chosen), self._view(index, chosen, colours=False).sizes

    def plain(self, index: int) -> tuple[Tensor, tuple[int, ...]]:
        """Moments and sizes of the picture's plain middle."""
        return self._moments(index, 0), self._views.plain(index).sizes

    def _moments(self, index: int, variant: int) -> Tensor:
        return self._store[index * self.variants + variant]["moments"]

    def _view(self, index: int, variant: int, *, colours: bool = True) -> View:
        view = self._views.plain(index)
        if variant == 0:
            return view
        if self._whole:
            return View(view.pixels[:, ::-1], True, view.sizes)
        return self._views.drawn(index, rng(0, VARIANTS, index * _MOST + variant), colours=colours)

    def _key(self, fingerprint: str) -> str:
        pictures, augmentation = self._views.pictures, self._views.augmentation
        deciding = [_VERSION, PIL.__version__, pictures.fingerprint, fingerprint, augmentation, self.variants]
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    def _pixels(self, rows: Sequence[int]) -> Tensor:
        """uint8 (B, 3, H, W)."""
        pixels = np.stack(list(in_order(self._look, rows, by_all=True))).transpose(0, 3, 1, 2)
        return torch.from_numpy(np.ascontiguousarray(pixels))

    def _look(self, row: int) -> np.ndarray:
        return self._view(*divmod(row, self.variants)).pixels

    def _batches(self, batch_size: int) -> Iterator[list[int]]:
        """The numbers of the store's rows, in batches whose pictures have one size."""
        _, bucket = np.unique(self._views.pictures.sizes, axis=0, return_inverse=True)
        bucket = np.repeat(bucket.reshape(-1), self.variants)
        for b in range(bucket.max() + 1):
            rows = iter(np.flatnonzero(bucket == b).tolist())
            while batch := list(islice(rows, batch_size)):
                yield batch
