"""Helpers of the tests of fine-tuning: runs by the command, and the samples that they learned from."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import DiffusionPipeline

from runner.cli import main
from runner.data.batches import Batches, Work
from runner.data.cache import prepare
from runner.data.order import Order
from runner.data.prior import Prior
from runner.data.source import open_source
from runner.data.texts import Texts
from runner.processes.world import World
from runner.progress import create

CACHE = Path("cache", "recipe")  # where the fixture `here` has it
STEPS = 10
UNCACHED = {"cache_latents": False, "cache_text_embeddings": False}
CACHES = ({}, UNCACHED)
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")


def recipe(model, *, data=(), training=(), compute=(), **sections):
    """A recipe that fine-tunes the model in a folder on a dozen small flowers, in fp32 unless `compute` says more."""
    return {
        "version": 1,
        "name": "tuned",
        "seed": 3,
        "data": {"type": "builtin", "num_images": 12, "resolution": 32, "random_flip": True, **dict(data)},
        "model": {"type": "pretrained", "id": str(model)},
        "training": {
            **{"max_train_steps": STEPS, "batch_size": 2, "learning_rate": 1e-3, "logging_steps": 1},
            **dict(training),
        },
        "compute": {"mixed_precision": "fp32", **dict(compute)},
        **sections,
    }


def run(values, *arguments, code=0):
    """Runs a recipe by the command in the working directory: the folder of its newest run."""
    Path("recipe.yaml").write_text(yaml.safe_dump(values))
    assert main(["run", "recipe.yaml", "--quiet", *arguments]) == code
    return Path("outputs", values["name"], "latest").resolve()


def log(folder, *keys):
    """These values of each logged step; None where a line has no such value."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [tuple(line.get(key) for key in keys) for line in lines]


def settled(folder):
    """The recipe of a run with nothing left open."""
    return yaml.safe_load((folder / "settled.yaml").read_text())


class Samples:
    """What a finished run learned from, without any cache of what a model made of it.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder):
        self.values = settled(folder)
        data, training, seed = self.values["data"], self.values["training"], self.values["seed"]
        pictures = _prepared(data)
        order = Order(pictures, training["batch_size"], seed)
        self._given = {
            "pictures": pictures,
            "work": Work.of(training, len(order)),
            "data": data,
            "seed": seed,
            "order": order,
            "texts": Texts(pictures, data, seed),
            "prior": _prior(data),
        }

    def steps(self, **options):
        """The micro-batches of each optimizer step, with noise that nothing is added to unless `options` say so."""
        plain = {"noise_offset": 0.0, "label_dropout_rate": None, "workers": 0, "posterior": True}
        source = Batches(**self._given, shape=lambda height, width: (4, height // 8, width // 8), **plain | options)
        for step in source.from_step(0):
            yield [batch.to(torch.device("cpu")) for batch in step]


def _prepared(section):
    return prepare(
        open_source(section, offline=True), section=section, cache_dir=CACHE, progress=create(quiet=True), world=World()
    )


def _prior(data):
    """The pictures of the class that the run has drawn, in the only folder of their cache."""
    if "prior" not in data:
        return None
    (folder,) = CACHE.glob("prior/*")
    keys = {"type": "folder", "id": str(folder.resolve()), "max_images": data["prior"]["num_images"]}
    section = {**data, **keys, "caption_column": "text", "metadata_file": None, "center_crop": True, "on_error": "stop"}
    return Prior(_prepared(section), data["prior"]["prompt"], data["prior"]["weight"])


def weights(pipeline):
    """Every parameter of a pipeline, or of one in a folder, by '<part>.<parameter>'."""
    pipeline = DiffusionPipeline.from_pretrained(pipeline) if isinstance(pipeline, Path) else pipeline
    parts = {name: getattr(pipeline, name, None) for name in PARTS}
    return {
        f"{name}.{key}": parameter.detach().clone()
        for name, part in parts.items()
        if part is not None
        for key, parameter in part.named_parameters()
    }


def assert_equal_work(folder, plain, ours, theirs, before, *, first=5e-7, later=1e-5, moved=3e-4):
    """A run and a plain loop had the same losses and gradients, and came to the same weights.

    The order of floating-point operations differs: AdamW is fused here, samples are weighted before they are summed,
    caches are filled in other batches. So the first loss differs by the last bit of single precision (`first`,
    relative). Adam divides gradients by their own size, and with it what was lost in rounding: `later` losses and
    gradients, and weights by this share of the way they went (`moved`), are a little further apart.
    """
    lines = log(folder, "loss", "grad_norm")
    assert lines[0][0] == pytest.approx(plain.losses[0], rel=first)
    assert [loss for loss, _ in lines] == pytest.approx(plain.losses, rel=later)
    if plain.norms:
        assert [norm for _, norm in lines] == pytest.approx(plain.norms, rel=2 * later)
    assert ours.keys() == theirs.keys() == before.keys()
    way, apart = (
        sum((a[key].float() - b[key].float()).square().sum() for key in a).sqrt().item()
        for a, b in ((theirs, before), (theirs, ours))
    )
    assert way > 0 and apart < moved * way
    for key, tensor in theirs.items():
        if torch.equal(tensor, before[key]):
            assert torch.equal(ours[key], tensor), key
