"""Counter-based random numbers: what is drawn follows from seed, stream and number, never from what came before."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

# Independent streams of the same seed. A new use takes a new one, so that older runs keep their values.
NOISE, AUGMENT, ORDER, POSTERIOR, PERTURB, TEXT, VARIANT, SPLIT = range(8)
PRIOR_NOISE, PRIOR_AUGMENT, PRIOR_ORDER, PRIOR_POSTERIOR, PRIOR_PERTURB, PRIOR_VARIANT = range(8, 14)
VALIDATION, VARIANTS, TAGS = range(14, 17)


class _Key(ISeedSequence):
    """A key as numpy takes one without asking the system for entropy that nobody uses: three times as fast."""

    def __init__(self, seed: int, stream: int) -> None:
        self._words = np.array((seed, stream), np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[np.uint64]:  # noqa: ARG002
        """The key of a Philox, whatever is asked for."""
        return self._words


@lru_cache(maxsize=256)
def _key(seed: int, stream: int) -> Any:  # numpy's own annotations know no `ISeedSequence`
    return _Key(seed, stream)


def rng(seed: int, stream: int, number: int) -> np.random.Generator:
    """A counter-based generator (Philox, Salmon et al. 2011): the same numbers for the same three arguments."""
    return np.random.Generator(np.random.Philox(_key(seed, stream), counter=(0, number, 0, 0)))
