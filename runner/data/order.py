"""The order in which an epoch shows pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from runner.data.cache import Pictures
from runner.data.draws import ORDER, rng


class Order:
    """Which picture each sample shows: an epoch has every picture as often as it is to be repeated, in a new order.

    Pictures of several sizes come in micro-batches of one size; the last one of a size is filled up with pictures of
    that size, which are then seen once more.

    Args:
        pictures: the prepared data.
        batch_size: samples of a micro-batch; with several sizes, sample numbers are cut at its multiples.
        seed: the recipe's seed.
        indices: the pictures that take part; None for all.
        stream: which of the seed's streams the order is drawn from.

    `len(order)` is the number of samples of an epoch.
    """

    def __init__(
        self,
        pictures: Pictures,
        batch_size: int,
        seed: int,
        indices: NDArray[np.int64] | Sequence[int] | None = None,
        stream: int = ORDER,
    ) -> None:
        which = np.arange(len(pictures)) if indices is None else np.asarray(indices, dtype=np.int64)
        entries = np.repeat(which, pictures.repeats[which])
        height, width = pictures.sizes[entries].T
        sizes, bucket = np.unique(height << 32 | width, return_inverse=True)
        self._buckets = [entries[bucket == b] for b in range(len(sizes))]
        self._batch_size, self._seed, self._stream = batch_size, seed, stream
        self._length = len(entries)
        if len(self._buckets) > 1:
            self._length = sum(-(-len(bucket) // batch_size) for bucket in self._buckets) * batch_size
        self._epoch = lru_cache(maxsize=2)(self._shuffled)

    def __len__(self) -> int:
        return self._length

    def index(self, number: int) -> int:
        """The picture of sample `number`, counted from the start of the run."""
        epoch, place = divmod(number, self._length)
        return int(self._epoch(epoch)[place])

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        draw = rng(self._seed, self._stream, epoch)
        if len(self._buckets) == 1:
            return draw.permutation(self._buckets[0])
        size, batches = self._batch_size, []
        for entries in self._buckets:
            filled = np.resize(draw.permutation(entries), -(-len(entries) // size) * size)
            batches.append(filled.reshape(-1, size))
        return draw.permutation(np.concatenate(batches)).reshape(-1)
