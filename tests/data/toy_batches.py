"""Batches of toy pictures, with and without caches."""

import hashlib

import torch

from runner.data.batches import Batches, Work
from runner.data.embeddings import Embeddings
from runner.data.latents import Latents
from runner.data.prior import Prior
from runner.processes.world import World
from tests.data.toy_pictures import ToyPictures, encode

ZERO = {"contrast": 0.0, "saturation": 0.0, "hue": 0.0}
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
    options["world"] = World()
    return Latents.build(pictures, data=data, cache_variants=variants, **options)


def embeddings(texts, tmp_path, progress, orders=2, more=()):
    options = {"fingerprint": "toy", "batch_size": 3, "cache_dir": tmp_path, "progress": progress}
    options["world"] = World()
    return Embeddings.build([*texts.every(orders), *more], orders=orders, embed=embed, **options)


def embed(texts):
    numbers = [int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) for text in texts]
    return {"states": torch.tensor(numbers, dtype=torch.float32)[:, None].expand(-1, 5) / 2**24}


def flat(source, step=0):
    """Batches as a model sees them."""
    return [batch.to(torch.device("cpu")) for update in source.from_step(step) for batch in update]


def column(source, name, step=0):
    """One field of every sample in order, whatever the batches."""
    return torch.cat([getattr(batch, name) for batch in flat(source, step)])


def samples(source, step=0):
    """Every sample's tensors in order, whatever the batches."""
    return [column(source, name, step) for name in ("pixels", "eps", "u", "labels", "sizes")]


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def mixed_sizes():
    sizes = [(8, 8)] * 5 + [(6, 10)] * 4 + [(10, 6)]
    return ToyPictures(sizes, sizes)


def prior_of(pictures, **options):
    return Prior(pictures, "a flower", 0.5, **options)
