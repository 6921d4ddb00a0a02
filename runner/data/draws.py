"""Counter-based random numbers: what is drawn follows from seed, stream and number, never from what came before."""

from __future__ import annotations

import numpy as np

# Independent streams of the same seed. A new use takes a new one, so that older runs keep their values.
NOISE, AUGMENT, ORDER, POSTERIOR, PERTURB, TEXT, VARIANT, SPLIT = range(8)
PRIOR_NOISE, PRIOR_AUGMENT, PRIOR_ORDER, PRIOR_POSTERIOR, PRIOR_PERTURB, PRIOR_VARIANT = range(8, 14)
VALIDATION, VARIANTS, TAGS = range(14, 17)


def rng(seed: int, stream: int, number: int) -> np.random.Generator:
    """A counter-based generator (Philox, Salmon et al. 2011): the same numbers for the same three arguments."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, number, 0, 0]))
