"""Batches of what is cached, of prior pictures, of several sizes, and those of the validation set."""

import pytest
import torch

from runner.data.batches import NO_CLASS
from runner.data.order import Order
from runner.data.texts import Texts
from tests.data.toy_batches import (
    MIDDLE,
    ZERO,
    batches,
    column,
    embed,
    embeddings,
    equal,
    flat,
    latents,
    mixed_sizes,
    prior_of,
    work,
)
from tests.data.toy_pictures import TEXT, ToyPictures, encode, latent_shape


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
    plain = flat(batches(of, pictures, **options))
    for cached, batch in zip([batch for update in updates for batch in update], plain, strict=True):
        assert torch.equal(encode(batch.pixels), cached.moments)
        assert [tuple(size) for size in batch.sizes[:, 4:].tolist()] == [tuple(batch.pixels.shape[2:])] * 2


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
