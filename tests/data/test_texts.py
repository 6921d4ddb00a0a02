"""The captions of samples."""

from collections import Counter

import numpy as np
import pytest

from runner.data.texts import Texts
from tests.data.toy_pictures import TEXT, ToyPictures


def texts(pictures=None, seed=5, **section):
    return Texts(pictures or ToyPictures(), {**TEXT, **section}, seed)


def drawn(source, index=0, count=400, orders=None):
    return Counter(source.text(index, number, orders) for number in range(count))


def test_a_caption_is_what_it_is():
    assert drawn(texts(), 3) == {"picture 3": 400}
    assert drawn(texts(trigger="sks"), 3) == {"sks, picture 3": 400}


def test_an_instance_prompt_stands_for_all():
    source = texts(instance_prompt="a sks dog", caption_templates=["of {caption}"])
    assert drawn(source, 3) == {"a sks dog": 400}


def test_templates_are_drawn_evenly():
    source = texts(caption_templates=["one {caption}", "two {label}", "three {caption} of {label}"])
    counts = drawn(source, 3, 3000)
    assert set(counts) == {"one picture 3", "two b", "three picture 3 of b"}
    assert min(counts.values()) > 900


def test_only_templates_that_a_picture_can_fill_are_drawn():
    pictures = ToyPictures([(8, 8)] * 2, captions=[None, "x {label}"])
    source = texts(pictures, caption_templates=["one {caption}", "two {label}"])
    assert set(drawn(source, 0)) == {"two a"}
    assert set(drawn(source, 1)) == {"one x {label}", "two b"}  # what a caption holds is no template


def test_a_source_has_words_of_its_own():
    keys = {0: {"instance_prompt": "a sks dog"}, 1: {"caption_templates": ["my {caption}"]}, 2: {}}
    pictures = ToyPictures([(8, 8)] * 3, keys=keys)
    source = texts(pictures, instance_prompt="all", trigger="t")
    assert [source.text(i, 0) for i in range(3)] == ["t, a sks dog", "t, my picture 1", "t, all"]


def test_tags_are_shuffled_behind_the_trigger():
    pictures = ToyPictures([(8, 8)], captions=["a, b ,, c"])
    counts = drawn(texts(pictures, shuffle_tags=True, trigger="x, y"), 0, 3000)
    orders = {"a, b, c", "a, c, b", "b, a, c", "b, c, a", "c, a, b", "c, b, a"}
    assert set(counts) == {f"x, y, {order}" for order in orders}
    assert min(counts.values()) > 400


def test_dropout_is_at_its_rate_and_chooses_nothing_else():
    source = texts(caption_templates=["one {caption}", "two {caption}"])
    dropped = texts(caption_templates=["one {caption}", "two {caption}"], caption_dropout_rate=0.3)
    pairs = [(source.text(3, n), dropped.text(3, n)) for n in range(3000)]
    assert np.mean([b == "" for _, b in pairs]) == pytest.approx(0.3, abs=0.03)
    assert all(b in ("", a) for a, b in pairs)
    assert set(drawn(texts(caption_dropout_rate=1.0))) == {""}
    assert "" not in drawn(texts(caption_dropout_rate=0.0))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.2])
@pytest.mark.parametrize("limit", [1, 4])
def test_variants_are_all_that_is_drawn(shuffle, rate, limit):
    pictures = ToyPictures([(8, 8)] * 3, captions=["a, b, c, d, e", "f", None])
    section = {
        "shuffle_tags": shuffle,
        "caption_dropout_rate": rate,
        "caption_templates": ["{caption}", "so {caption}"],
    }
    source = texts(pictures, trigger="t", **section)
    for i in range(3):
        variants = source.variants(i, limit)
        assert set(drawn(source, i, orders=limit)) == set(variants)
        assert len(set(variants)) == len(variants)
        assert variants[0] == source.plain(i)
    assert len(source.variants(0, limit)) == 2 * (limit if shuffle else 1) + (rate > 0)
    assert source.every(limit) == sorted({v for i in range(3) for v in source.variants(i, limit)})


def test_kept_orders_of_tags_do_not_depend_on_the_seed():
    pictures = ToyPictures([(8, 8)], captions=["a, b, c, d, e"])
    first, second = (texts(pictures, seed, shuffle_tags=True).every(4) for seed in (1, 2))
    assert first == second


def test_texts_follow_from_seed_and_number():
    pictures = ToyPictures([(8, 8)], captions=["a, b, c, d, e"])
    a, again, other = ([texts(pictures, seed, shuffle_tags=True).text(0, n) for n in range(20)] for seed in (1, 1, 2))
    assert a == again != other


def test_pictures_without_text_are_named():
    pictures = ToyPictures([(8, 8)] * 3, captions=["a", None, "b"])
    assert texts(pictures).missing() == ["1.png"]
    assert texts(pictures, trigger="t").missing() == ["1.png"]
    assert texts(pictures, caption_templates=["{caption}", "a flower"]).missing() == []
    assert texts(pictures, instance_prompt="a flower").missing() == []
    assert texts(pictures).text(1, 0) == ""
