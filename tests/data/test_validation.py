"""Which pictures are held out."""

import numpy as np
import pytest

from runner.data.validation import held_out
from runner.errors import DataError
from tests.data.toy_pictures import ToyPictures


@pytest.mark.parametrize("split,held", [(0.0, 0), (0.01, 1), (0.2, 4), (0.5, 10)])
def test_a_share_is_held_out(split, held):
    learn, out = held_out(ToyPictures([(8, 8)] * 20), split, 5)
    assert len(out) == held
    assert sorted([*learn, *out]) == list(range(20))
    assert learn.tolist() == sorted(learn) and out.tolist() == sorted(out)


def test_the_seed_chooses():
    pictures = ToyPictures([(8, 8)] * 50)
    first, again, other = (held_out(pictures, 0.2, seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_something_must_be_left():
    with pytest.raises(DataError, match="holds out 1 of 1 pictures and leaves none to learn from"):
        held_out(ToyPictures([(8, 8)]), 0.1, 5)
