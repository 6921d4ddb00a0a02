"""Every random choice follows from the seed and the sample's number alone."""

import hashlib

import numpy as np
import pytest
import torch

from runner.data.batches import NO_CLASS, Batches, Work
from runner.data.embeddings import Embeddings
from runner.data.latents import Latents
from runner.data.order import Order
from runner.data.prior import Prior
from runner.data.texts import Texts
from tests.data.toy_pictures import TEXT, ToyPictures, encode, latent_shape

MIDDLE = {"center_crop": True, "random_flip": True, "color_jitter": None}


def work(batch_size=4, accumulation=1, epoch=11, **given):
    training = {"max_train_steps": None, "num_train_epochs": None, "batch_size": batch_size, **given}
    return Work.of({**training, "gradient_accumulation_steps": accumulation}, epoch)


def pixel_shape(height, width):
    return (3, height, width)


def batches(of, pictures=None, **options):
    data = {"center_crop": False, "random_flip": True}
    settings = {"data": data, "seed": 5, "shape": pixel_shape, "noise_offset": 0.1, "label_dropout_rate": 0.3}
    return Batches(pictures or ToyPictures(), work=of, **{**settings, "workers": 0, **options})


def latents(pictures, tmp_path, progress, data=MIDDLE, variants=3):
    options = {"encode": encode, "fingerprint": "toy", "batch_size": 3, "cache_dir": tmp_path, "progress": progress}
    return Latents.build(pictures, data=data, cache_variants=variants, **options)


def embeddings(texts, tmp_path, progress, orders=2, more=()):
    options = {"fingerprint": "toy", "batch_size": 3, "cache_dir": tmp_path, "progress": progress}
    return Embeddings.build([*texts.every(orders), *more], orders=orders, embed=embed, **options)


def embed(texts):
    numbers = [int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) for text in texts]
    return {"states": torch.tensor(numbers, dtype=torch.float32)[:, None].expand(-1, 5) / 2**24}


def flat(source, step=0):
    return [batch for update in source.from_step(step) for batch in update]


def column(source, name, step=0):
    """One field of every sample in order, whatever the batches."""
    return torch.cat([getattr(batch, name) for batch in flat(source, step)])


def samples(source, step=0):
    """Every sample's tensors in order, whatever the batches."""
    return [column(source, name, step) for name in ("pixels", "eps", "u", "labels", "sizes")]


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


def test_every_field_moves_to_a_device(tmp_path, progress):
    pictures = ToyPictures([(8, 8)] * 4)
    texts = Texts(pictures, TEXT, 5)
    options = {"latents": latents(pictures, tmp_path, progress), "embeddings": embeddings(texts, tmp_path, progress)}
    options |= {"shape": latent_shape, "posterior": True, "input_perturbation": 0.1, "texts": texts, "data": MIDDLE}
    (batch,) = flat(batches(work(max_train_steps=1), pictures, **options))
    moved = batch.to(torch.device("meta"))
    for name in ("eps", "u", "weight", "sizes", "moments", "posterior", "perturbed", "labels"):
        assert getattr(moved, name).device.type == "meta"
    assert moved.text["states"].device.type == "meta"
    assert (moved.captions, moved.first, len(moved)) == (batch.captions, 0, 4)


@pytest.mark.parametrize("data", [MIDDLE, {**MIDDLE, "random_flip": False}, {**MIDDLE, "center_crop": False}])
def test_cached_latents_are_those_of_the_pixels(tmp_path, progress, data):
    pictures = ToyPictures([(8, 8)] * 11)
    of, options = work(max_train_steps=9), {"data": data, "shape": latent_shape, "posterior": True}
    plain = batches(of, pictures, **options)
    cached = batches(of, pictures, latents=latents(pictures, tmp_path, progress, data), workers=2, **options)
    assert torch.equal(column(cached, "moments"), encode(column(plain, "pixels")))
    for name in ("eps", "u", "posterior", "sizes", "labels"):
        assert torch.equal(column(cached, name), column(plain, name))
    assert flat(cached)[0].pixels is None


def test_cached_latents_of_random_crops_are_kept_looks(tmp_path, progress):
    pictures = ToyPictures()
    data = {"center_crop": False, "random_flip": True, "color_jitter": {"brightness": 0.5} | ZERO}
    kept = latents(pictures, tmp_path, progress, data, variants=3)
    source = batches(work(max_train_steps=60), pictures, data=data, latents=kept, shape=latent_shape)
    looks = {}
    for batch in flat(source):
        for i in range(len(batch)):
            index = source.order.index(batch.first + i)
            looks.setdefault(index, {})[batch.moments[i].numpy().tobytes()] = tuple(batch.sizes[i, 2:4].tolist())
    assert all(len(seen) == 3 for seen in looks.values())
    assert len(looks) == 11
    for index, seen in looks.items():
        middle = torch.from_numpy(pictures[index][2:10, 1:9].copy().transpose(2, 0, 1))[None]
        assert seen[encode(middle)[0].numpy().tobytes()] == (2, 1)


ZERO = {"contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def test_cached_texts_are_those_without_a_cache(tmp_path, progress):
    pictures = ToyPictures()
    texts = Texts(pictures, {**TEXT, "caption_templates": ["a {caption}", "{label}"], "caption_dropout_rate": 0.2}, 5)
    of = work(max_train_steps=20)
    plain = [caption for batch in flat(batches(of, pictures, texts=texts)) for caption in batch.captions]
    cached = flat(batches(of, pictures, texts=texts, embeddings=embeddings(texts, tmp_path, progress)))
    assert [caption for batch in cached for caption in batch.captions] == plain
    assert {"", "a", "b", "a picture 3"} <= set(plain)
    assert torch.equal(torch.cat([batch.text["states"] for batch in cached]), embed(plain)["states"])


def test_input_perturbation_mixes_with_other_noise():
    of = work(batch_size=50, max_train_steps=4)
    plain, perturbed = batches(of), batches(of, input_perturbation=0.1)
    assert torch.equal(column(plain, "eps"), column(perturbed, "eps"))
    assert flat(plain)[0].perturbed is None
    extra = (column(perturbed, "perturbed") - column(perturbed, "eps")) / 0.1
    assert extra.std().item() == pytest.approx(1, abs=0.02)
    assert abs(torch.corrcoef(torch.stack([extra.flatten(), column(plain, "eps").flatten()]))[0, 1]) < 0.02


def test_the_posterior_is_noise_of_its_own():
    source = batches(work(batch_size=50, max_train_steps=4), posterior=True, noise_offset=0.0)
    posterior, eps = column(source, "posterior"), column(source, "eps")
    assert posterior.std().item() == pytest.approx(1, abs=0.02)
    assert abs(torch.corrcoef(torch.stack([posterior.flatten(), eps.flatten()]))[0, 1]) < 0.02


def mixed_sizes():
    sizes = [(8, 8)] * 5 + [(6, 10)] * 4 + [(10, 6)]
    return ToyPictures(sizes, sizes)


@pytest.mark.parametrize("workers", [0, 2])
def test_each_micro_batch_holds_one_size(workers, tmp_path, progress):
    pictures = mixed_sizes()
    order = Order(pictures, 2, 5)
    of = work(batch_size=2, accumulation=3, epoch=len(order), num_train_epochs=3)
    options = {"shape": latent_shape, "order": order, "data": MIDDLE, "workers": workers}
    updates = list(batches(of, pictures, latents=latents(pictures, tmp_path, progress), **options).from_step(0))
    assert all(len(batch) == 2 for update in updates for batch in update)
    for update in updates:
        assert sum(batch.weight.sum().item() for batch in update) == pytest.approx(1)
    plain = [batch for update in batches(of, pictures, **options).from_step(0) for batch in update]
    for cached, batch in zip([batch for update in updates for batch in update], plain, strict=True):
        assert torch.equal(encode(batch.pixels), cached.moments)
        assert [tuple(size) for size in batch.sizes[:, 4:].tolist()] == [tuple(batch.pixels.shape[2:])] * 2


def prior_of(pictures, **options):
    return Prior(pictures, "a flower", 0.5, **options)


@pytest.mark.parametrize("batch_size,accumulation", [(4, 1), (2, 2), (1, 4)])
def test_prior_rows_follow_each_batch(batch_size, accumulation, tmp_path, progress):
    pictures, own = ToyPictures([(8, 8)] * 11), ToyPictures([(8, 8)] * 5, captions=["drawn"] * 5)
    texts = Texts(pictures, {**TEXT, "instance_prompt": "a <w> flower", "caption_dropout_rate": 0.5}, 5)
    rows = embeddings(texts, tmp_path, progress, more=["a flower"])
    options = {"data": MIDDLE, "shape": latent_shape, "texts": texts, "embeddings": rows, "posterior": True}
    of = work(batch_size, accumulation, max_train_steps=5)
    prior = prior_of(own, latents=latents(own, tmp_path, progress))
    source = batches(of, pictures, prior=prior, latents=latents(pictures, tmp_path, progress), **options)
    alone = flat(batches(of, pictures, latents=latents(pictures, tmp_path, progress), **options))
    shown = []
    for batch, instance in zip(flat(source), alone, strict=True):
        half = len(instance)
        assert len(batch) == 2 * half
        for name in ("moments", "eps", "u", "weight", "posterior", "sizes"):
            assert torch.equal(getattr(batch, name)[:half], getattr(instance, name))
        assert torch.equal(batch.weight[half:], instance.weight * 0.5)
        assert batch.captions == (*instance.captions, *["a flower"] * half)
        assert torch.equal(batch.text["states"][half:], embed(["a flower"] * half)["states"])
        assert not torch.equal(batch.eps[half:], batch.eps[:half])
        shown += [row.numpy().tobytes() for row in batch.moments[half:]]
    plain = flat(batches(of, pictures, prior=prior_of(own), **options))
    assert [
        encode(b.pixels[i : i + 1])[0].numpy().tobytes() for b in plain for i in range(len(b) // 2, len(b))
    ] == shown


def test_prior_pictures_of_another_size_are_a_batch_of_their_own():
    pictures = mixed_sizes()
    order = Order(pictures, 2, 5)
    of = work(batch_size=2, epoch=len(order), num_train_epochs=1)
    options = {"data": MIDDLE, "order": order, "prior": prior_of(ToyPictures([(8, 8)] * 5)), "texts": None}
    updates = list(batches(of, pictures, **options).from_step(0))
    assert {len(update) for update in updates} == {1, 2}
    assert all(sum(len(batch) for batch in update) == 4 for update in updates)
    assert all(sum(batch.weight.sum().item() for batch in update) == pytest.approx(1.5) for update in updates)


def test_the_validation_set_is_the_same_each_time(tmp_path, progress):
    pictures = mixed_sizes()
    section = {**TEXT, "caption_dropout_rate": 0.9, "shuffle_tags": True, "trigger": "t"}
    texts = Texts(pictures, section, 5)
    held = [1, 6, 8, 9]
    data = {"center_crop": False, "random_flip": True, "color_jitter": {"brightness": 0.5} | ZERO}
    options = {"data": data, "shape": latent_shape, "texts": texts, "label_dropout_rate": 0.9, "posterior": True}
    of = work(batch_size=3, max_train_steps=1)
    plain = batches(of, pictures, **options)
    first, again = list(plain.validation(held)), list(plain.validation(held[::-1]))
    rows = embeddings(texts, tmp_path, progress)
    kept = latents(pictures, tmp_path, progress, data)
    cached = list(batches(of, pictures, latents=kept, embeddings=rows, **options).validation(held))
    assert sum(len(batch) for batch in first) == 16
    assert sum(batch.weight.sum().item() for batch in first) == pytest.approx(1)
    assert (
        sorted(torch.cat([batch.u for batch in first]).tolist())
        == [0.125] * 4 + [0.375] * 4 + [0.625] * 4 + [0.875] * 4
    )
    assert {caption for batch in first for caption in batch.captions} == {f"t, picture {i}" for i in held}
    assert (torch.cat([batch.labels for batch in first]) != NO_CLASS).all()
    for a, b, c in zip(first, again, cached, strict=True):
        assert torch.equal(a.pixels, b.pixels)
        assert torch.equal(encode(a.pixels), c.moments)
        assert a.captions == c.captions
        assert torch.equal(c.text["states"], embed(a.captions)["states"])
        for name in ("eps", "u", "posterior", "sizes"):
            assert torch.equal(getattr(a, name), getattr(b, name))
            assert torch.equal(getattr(a, name), getattr(c, name))


def test_everything_follows_from_the_numbers_alone(tmp_path, progress):
    """Caches, texts, prior and posterior: the same samples however steps are split, prepared or taken up again."""
    pictures, own = ToyPictures(), ToyPictures([(8, 8)] * 5)
    section = {**TEXT, "caption_dropout_rate": 0.2, "shuffle_tags": True}
    texts = Texts(ToyPictures(captions=[f"tag {i}, b, c" for i in range(11)]), section, 5)
    data = {"center_crop": False, "random_flip": True}
    options = {"data": data, "shape": latent_shape, "texts": texts, "posterior": True, "input_perturbation": 0.1}
    options["latents"] = latents(pictures, tmp_path, progress, data)
    options["embeddings"] = embeddings(texts, tmp_path, progress, more=["a flower"])
    options["prior"] = prior_of(own, latents=latents(own, tmp_path, progress, data))
    names = ("moments", "eps", "u", "weight", "posterior", "perturbed", "sizes", "labels")

    def rows(batch_size, accumulation, workers, step=0):
        of = work(batch_size, accumulation, max_train_steps=4)
        found = flat(batches(of, pictures, workers=workers, **options), step)
        halves = [(batch, slice(0, len(batch) // 2)) for batch in found]
        halves += [(batch, slice(len(batch) // 2, None)) for batch in found]
        tensors = [torch.cat([getattr(batch, name)[part] for batch, part in halves]) for name in names]
        return [*tensors, torch.cat([batch.text["states"][part] for batch, part in halves])]

    wanted = rows(6, 1, 0)
    for split in [(2, 3, 0), (1, 6, 2), (3, 2, 5)]:
        assert equal(rows(*split), wanted)
    for workers in (0, 2):
        rest = [torch.cat([t[12:24], t[36:]]) for t in wanted]
        assert equal(rows(3, 2, workers, step=2), rest)
