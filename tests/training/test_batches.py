"""Every random choice follows from the seed and the sample's number alone."""

import numpy as np
import pytest
import torch

from runner.data.batches import NO_CLASS, Batches, Work


class Pictures:
    """Eleven small pictures of two classes."""

    classes = ("a", "b")
    labels = np.array([0, 1] * 5 + [0])

    def __len__(self):
        return 11

    def __getitem__(self, i):
        return np.random.default_rng(i).integers(0, 256, (12, 10, 3), dtype=np.uint8)


def work(batch_size=4, accumulation=1, **given):
    training = {"max_train_steps": None, "num_train_epochs": None, "batch_size": batch_size, **given}
    return Work.of({**training, "gradient_accumulation_steps": accumulation}, len(Pictures()))


def batches(of, **options):
    data = {"resolution": 8, "center_crop": False, "random_flip": True}
    settings = {"data": data, "seed": 5, "sample_shape": (3, 8, 8), "noise_offset": 0.1, "label_dropout_rate": 0.3}
    return Batches(Pictures(), work=of, **{**settings, "workers": 0, **options})


def samples(source, step=0):
    """Every sample's tensors in order, whatever the batches."""
    flat = [batch for update in source.from_step(step) for batch in update]
    return [torch.cat([getattr(batch, name) for batch in flat]) for name in ("pixels", "eps", "u", "labels")]


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


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
    epochs = [[source.index(n) for n in range(e * 11, (e + 1) * 11)] for e in range(3)]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_another_seed_gives_other_samples():
    of = work(max_train_steps=2)
    a, b = samples(batches(of)), samples(batches(of, seed=6))
    assert not any(torch.equal(x, y) for x, y in zip(a, b, strict=True))


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
    _, plain, u, _ = samples(batches(of, noise_offset=0.0))
    assert abs(plain.mean().item()) < 0.01
    assert plain.std().item() == pytest.approx(1, abs=0.01)
    assert u.mean().item() == pytest.approx(0.5, abs=0.05)
    _, shifted, _, _ = samples(batches(of, noise_offset=0.5))
    offset = shifted - plain
    assert offset.std(dim=(2, 3)).max().item() < 1e-6
    assert offset[:, :, 0, 0].std().item() == pytest.approx(0.5, abs=0.05)


def test_labels_are_withheld_at_the_rate_asked_for():
    of = work(batch_size=50, max_train_steps=20)
    *_, labels = samples(batches(of, label_dropout_rate=0.3))
    assert (labels == NO_CLASS).float().mean().item() == pytest.approx(0.3, abs=0.05)
    *_, labels = samples(batches(of, label_dropout_rate=0.0))
    source = batches(of)
    assert labels.tolist() == [Pictures.labels[source.index(n)] for n in range(1000)]


def test_a_failing_picture_stops_the_run_from_a_thread_too():
    class Broken(Pictures):
        def __getitem__(self, i):
            raise ValueError("gone")

    source = batches(work(max_train_steps=3), workers=2)
    source.pictures = Broken()
    with pytest.raises(ValueError, match="gone"):
        list(source.from_step(0))
