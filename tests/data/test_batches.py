"""Every random choice follows from the seed and the sample's number alone."""

import hashlib

import numpy as np
import pytest
import torch

from runner.data.batches import NO_CLASS, Work
from tests.data.toy_batches import batches, column, equal, flat, mixed_sizes, samples, work
from tests.data.toy_pictures import ToyPictures


def test_samples_do_not_depend_on_how_they_are_split():
    wanted = samples(batches(work(batch_size=12, max_train_steps=2)))
    for batch_size, accumulation, workers in [(4, 3, 0), (6, 2, 2), (1, 12, 1), (3, 4, 5)]:
        split = work(batch_size=batch_size, accumulation=accumulation, max_train_steps=2)
        assert equal(samples(batches(split, workers=workers)), wanted)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_later_start_sees_the_same_samples(workers):
    of = work(max_train_steps=9)
    whole = samples(batches(of))
    for step in (1, 4, 8):
        rest = samples(batches(of, workers=workers), step)
        assert equal(rest, [tensor[step * 4 :] for tensor in whole])


def test_each_epoch_sees_every_picture_once_in_a_new_order():
    source = batches(work(max_train_steps=100))
    epochs = [[source.order.index(n) for n in range(e * 11, (e + 1) * 11)] for e in range(3)]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_another_seed_gives_other_samples():
    of = work(max_train_steps=2)
    a, b = samples(batches(of)), samples(batches(of, seed=6))
    assert not any(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))


def test_epochs_end_with_a_smaller_step_that_counts_right():
    of = work(batch_size=4, accumulation=2, num_train_epochs=3)
    assert (of.samples, of.steps) == (33, 5)
    updates = list(batches(of).from_step(0))
    assert [[len(batch) for batch in update] for update in updates] == [[4, 4]] * 4 + [[1]]
    for update in updates:
        assert sum(batch.weight.sum().item() for batch in update) == pytest.approx(1)


def test_a_batch_larger_than_the_data_goes_on_into_the_next_epoch():
    (update,) = batches(work(batch_size=25, max_train_steps=1)).from_step(0)
    assert len(update[0]) == 25


def test_the_noise_is_normal_and_the_offset_is_constant_over_a_channel():
    of = work(batch_size=50, max_train_steps=8)
    _, plain, u, *_ = samples(batches(of, noise_offset=0.0))
    assert abs(plain.mean().item()) < 0.01
    assert plain.std().item() == pytest.approx(1, abs=0.01)
    assert u.mean().item() == pytest.approx(0.5, abs=0.05)
    _, shifted, *_ = samples(batches(of, noise_offset=0.5))
    offset = shifted - plain
    assert offset.std(dim=(2, 3)).max().item() < 1e-6
    assert offset[:, :, 0, 0].std().item() == pytest.approx(0.5, abs=0.05)


def test_labels_are_withheld_at_the_rate_asked_for():
    of = work(batch_size=50, max_train_steps=20)
    labels = column(batches(of, label_dropout_rate=0.3), "labels")
    assert (labels == NO_CLASS).float().mean().item() == pytest.approx(0.3, abs=0.05)
    source = batches(of, label_dropout_rate=0.0)
    labels = column(source, "labels")
    assert labels.tolist() == [ToyPictures().labels[source.order.index(n)] for n in range(1000)]


def test_a_failing_picture_stops_the_run_from_a_thread_too():
    class Broken(ToyPictures):
        def __getitem__(self, i):
            raise ValueError("gone")

    source = batches(work(max_train_steps=3), Broken(), workers=2)
    with pytest.raises(ValueError, match="gone"):
        list(source.from_step(0))


FROZEN = {
    "random": {"pixels": "cf486af28bef18ce", "eps": "20be5061ce91cf56", "u": "af428b760bfa17d7"}
    | {"labels": "a03548f242908c80", "weight": "248c44fcf2d5572e"},
    "middle": {"pixels": "5bd8bbadaa925cad", "eps": "54aa321922d6a208", "u": "31b8302c355d9934"}
    | {"weight": "248c44fcf2d5572e"},
}
"""Digests of the first 40 samples as the first version of this program drew them."""


@pytest.mark.parametrize("crop", FROZEN)
def test_samples_are_those_of_the_first_version(crop):
    of = Work(40, 4, 2)
    if crop == "random":
        source = batches(of)
    else:
        data = {"center_crop": True, "random_flip": True}
        options = {"noise_offset": 0.0, "label_dropout_rate": None, "seed": 7}
        source = batches(of, ToyPictures([(8, 8)] * 11), data=data, **options)
    for name, digest in FROZEN[crop].items():
        raw = column(source, name).contiguous().numpy().tobytes()
        assert hashlib.sha256(raw).hexdigest().startswith(digest), name


def test_sizes_tell_where_the_crop_lies():
    data = {"center_crop": False, "random_flip": False}
    pictures = ToyPictures()
    for batch in flat(batches(work(max_train_steps=6), pictures, data=data)):
        for i, sizes in enumerate(batch.sizes.tolist()):
            _, _, top, left, height, width = sizes
            cut = batch.pixels[i].numpy().transpose(1, 2, 0)
            assert any(
                np.array_equal(pictures[p][top : top + height, left : left + width], cut) for p in range(len(pictures))
            )
            assert sizes[:2] == [36, 30]


def test_sizes_of_a_mirrored_sample_are_those_in_the_mirrored_picture():
    pictures = ToyPictures()
    source = batches(work(max_train_steps=6), pictures)
    seen = set()
    for batch in flat(source):
        for i, (_, _, top, left, height, width) in enumerate(batch.sizes.tolist()):
            picture = pictures[source.order.index(batch.first + i)]
            cut = batch.pixels[i].numpy().transpose(1, 2, 0)
            found = [
                np.array_equal(array[top : top + height, left : left + width], cut)
                for array in (picture, picture[:, ::-1])
            ]
            assert any(found)
            seen.add(found.index(True))
    assert seen == {0, 1}


@pytest.mark.parametrize("pictures", [None, mixed_sizes()], ids=["one size", "buckets"])
def test_smaller_micro_batches_hold_the_same_samples(pictures):
    """Also of pictures of several sizes: their order is that of the size that the run began with."""
    source = batches(work(batch_size=4, accumulation=2, max_train_steps=3), pictures)
    noise = [torch.cat([batch.eps.flatten() for batch in update]) for update in source.from_step(0)]
    source.work = source.work.smaller()
    assert (source.work.batch_size, source.work.gradient_accumulation_steps) == (2, 4)
    for update, before in zip(source.from_step(0), noise, strict=True):
        assert [len(batch) for batch in update] == [2] * 4
        assert torch.equal(torch.cat([batch.eps.flatten() for batch in update]), before)
        assert sum(float(batch.weight.sum()) for batch in update) == pytest.approx(1)
