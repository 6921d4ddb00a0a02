"""Which pictures are held out to see how a model does on what it does not learn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runner.data.cache import Pictures
from runner.data.draws import SPLIT, rng
from runner.errors import DataError


def held_out(pictures: Pictures, split: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pictures to learn from and those held out, each in ascending order.

    Args:
        split: the share that is held out, in [0, 1); at least one picture where it is not 0.
        seed: chooses them.

    Raises:
        DataError: nothing would be left to learn from.
    """
    count = len(pictures)
    held = max(1, round(count * split)) if split else 0
    if held >= count:
        raise DataError(
            f"validation_split {split:g} holds out {held} of {count} pictures and leaves none to learn from: "
            "give more pictures or lower training.validation_split"
        )
    shuffled = rng(seed, SPLIT, 0).permutation(count)
    return np.sort(shuffled[held:]), np.sort(shuffled[:held])
