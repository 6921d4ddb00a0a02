"""Latents and embeddings are computed once."""

import pytest
import torch

from runner.data.embeddings import Embeddings
from runner.data.latents import Latents
from runner.processes.world import World
from tests.data.toy_pictures import ToyPictures, encode

MIDDLE = {"center_crop": True, "random_flip": False}
SIZES = [(8, 8)] * 5 + [(6, 10)] * 4 + [(10, 6)]


class Encoder:
    """`encode`, which remembers what it was given."""

    def __init__(self):
        self.shapes = []

    def __call__(self, pixels):
        assert pixels.dtype == torch.uint8
        self.shapes.append(tuple(pixels.shape))
        return encode(pixels)


def build(pictures, cache_dir, progress, encoder=None, data=MIDDLE, variants=3, fingerprint="toy"):
    options = {"fingerprint": fingerprint, "batch_size": 3, "cache_dir": cache_dir, "progress": progress}
    options["world"] = World()
    return Latents.build(pictures, data=data, cache_variants=variants, encode=encoder or encode, **options)


def test_pictures_are_encoded_in_batches_of_one_size_and_only_once(tmp_path, progress):
    encoder = Encoder()
    first = build(ToyPictures(SIZES, SIZES), tmp_path, progress, encoder)
    assert sorted(encoder.shapes) == [(1, 3, 6, 10), (1, 3, 10, 6), (2, 3, 8, 8), (3, 3, 6, 10), (3, 3, 8, 8)]
    assert progress.bars == [("Encoding pictures", 10, 10)]
    again = build(ToyPictures(SIZES, SIZES), tmp_path, progress, encoder)
    assert len(encoder.shapes) == 5
    assert len(progress.bars) == 1
    for i in range(10):
        assert torch.equal(first.plain(i)[0], again.plain(i)[0])
        assert first.plain(i)[1] == (SIZES[i][0] * 3, SIZES[i][1] * 3, 0, 0, *SIZES[i])


@pytest.mark.parametrize(
    "data,count",
    [
        ({}, 1),
        ({"random_flip": True}, 2),
        ({"center_crop": False}, 3),
        ({"center_crop": False, "random_flip": True}, 3),
        ({"color_jitter": {"brightness": 0.1, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}}, 3),
    ],
)
def test_as_many_looks_as_there_can_be_or_are_asked_for(data, count, tmp_path, progress):
    shape = (12, 12) if "center_crop" in data else (8, 8)
    latents = build(ToyPictures([shape] * 4), tmp_path, progress, data={**MIDDLE, **data})
    assert latents.variants == count
    assert progress.bars == [("Encoding pictures", 4 * count, 4 * count)]


def test_crops_without_room_are_no_looks(tmp_path, progress):
    data = {"center_crop": False, "random_flip": True}
    assert build(ToyPictures([(8, 8)] * 4), tmp_path, progress, data=data).variants == 2


@pytest.mark.parametrize("other", ["pictures", "fingerprint", "data", "variants"])
def test_what_decides_latents_is_in_the_key(other, tmp_path, progress):
    crop = {"center_crop": False, "random_flip": False}
    given = {"pictures": ToyPictures([(12, 12)] * 4), "fingerprint": "toy", "data": crop, "variants": 3}
    changed = {"pictures": ToyPictures([(12, 14)] * 4), "fingerprint": "x", "variants": 2}
    changed["data"] = {**crop, "random_flip": True}
    for choices in (given, given | {other: changed[other]}):
        options = {key: value for key, value in choices.items() if key != "pictures"}
        build(choices["pictures"], tmp_path, progress, **options)
    assert len(progress.bars) == 2


def test_a_failing_encoder_leaves_nothing(tmp_path, progress):
    def broken(pixels):
        raise MemoryError

    with pytest.raises(MemoryError):
        build(ToyPictures([(8, 8)] * 4), tmp_path, progress, broken)
    assert list((tmp_path / "latents").iterdir()) == []


def test_a_damaged_cache_is_made_anew(tmp_path, progress):
    pictures = ToyPictures([(8, 8)] * 4)
    wanted = build(pictures, tmp_path, progress).plain(2)[0]
    (shard,) = tmp_path.glob("latents/*/*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1])
    assert torch.equal(build(pictures, tmp_path, progress).plain(2)[0], wanted)
    assert len(progress.bars) == 2
    assert progress.warnings == [f"the cache in {shard.parent} is damaged, or of another version: it is made anew"]


def embed(texts):
    states = torch.tensor([[len(text), ord((text or " ")[0])] for text in texts])
    return {"states": states.to(torch.bfloat16), "summary": states.float().sum(1)}


def test_texts_are_embedded_once(tmp_path, progress):
    options = {"orders": 2, "embed": embed, "batch_size": 2, "cache_dir": tmp_path, "progress": progress}
    options["world"] = World()
    rows = Embeddings.build(["b", "", "aa", "b"], fingerprint="toy", **options)
    assert progress.bars == [("Encoding captions", 3, 3)]
    assert torch.equal(rows["aa"]["states"], torch.tensor([2, 97], dtype=torch.bfloat16))
    assert rows[""]["summary"].item() == 32
    assert torch.equal(
        Embeddings.build(["aa", "b", ""], fingerprint="toy", **options)["b"]["summary"], torch.tensor(99.0)
    )
    assert len(progress.bars) == 1
    Embeddings.build(["aa", "b"], fingerprint="toy", **options)
    Embeddings.build(["aa", "b"], fingerprint="x", **options)
    assert len(progress.bars) == 3
