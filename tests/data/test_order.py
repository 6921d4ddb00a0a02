"""The order of pictures."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from runner.data.order import Order
from tests.data.toy_pictures import ToyPictures

SIZES = [(8, 8)] * 5 + [(6, 10)] * 4 + [(10, 6)]


def epoch(order, number=0):
    return [order.index(number * len(order) + i) for i in range(len(order))]


def test_repeats_are_counted():
    order = Order(ToyPictures([(8, 8)] * 4, repeats=[1, 3, 2, 1]), 2, 5)
    assert len(order) == 7
    assert Counter(epoch(order)) == Counter(epoch(order, 1)) == {0: 1, 1: 3, 2: 2, 3: 1}
    assert epoch(order) != epoch(order, 1)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_each_batch_has_one_size_and_each_picture_is_seen(batch_size):
    pictures = ToyPictures(SIZES, SIZES, repeats=[1, 2, 1, 1, 1, 1, 1, 3, 1, 2])
    order = Order(pictures, batch_size, 5)
    wanted = {i: int(n) for i, n in enumerate(pictures.repeats)}
    assert len(order) % batch_size == 0
    for number in range(3):
        seen = epoch(order, number)
        for start in range(0, len(seen), batch_size):
            assert len({SIZES[i] for i in seen[start : start + batch_size]}) == 1
        surplus = Counter(seen) - Counter(wanted)
        assert all(Counter(seen)[i] >= n for i, n in wanted.items())
        assert sum(surplus.values()) < 3 * batch_size
    assert epoch(order) != epoch(order, 1)


def test_batches_of_all_sizes_are_mixed():
    sizes = [(8, 8)] * 40 + [(6, 10)] * 40
    seen = epoch(Order(ToyPictures(sizes, sizes), 4, 5))
    kinds = [i < 40 for i in seen[::4]]
    assert sum(a != b for a, b in pairwise(kinds)) > 3


def test_only_chosen_pictures_take_part():
    pictures = ToyPictures(SIZES, SIZES)
    chosen = np.array([0, 2, 6, 9])
    assert set(epoch(Order(pictures, 2, 5, indices=chosen))) == set(chosen.tolist())
    one_size = Order(pictures, 3, 5, indices=[1, 3, 4, 0])
    assert sorted(epoch(one_size)) == [0, 1, 3, 4]  # not filled up


def test_another_seed_gives_another_order():
    pictures = ToyPictures([(8, 8)] * 30)
    assert epoch(Order(pictures, 2, 5)) != epoch(Order(pictures, 2, 6))
