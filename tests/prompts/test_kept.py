"""Texts are read once for all the batches that are drawn of them, and drawn as before."""

import json
from dataclasses import replace
from weakref import ref

import numpy as np
import pytest

from runner.language.load import parse
from runner.language.recipe import read as read_recipe
from runner.models import toys
from runner.outputs.folder import RunFolder
from runner.outputs.samples import Samples
from runner.progress import create
from runner.prompts.kept import Kept
from runner.sampling.gallery import Gallery
from runner.settle.settled import settle
from runner.signals import Stop
from tests.models.drawing import ask, built, generators


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    toys.stable_diffusion(folder)
    return built(folder)


@pytest.fixture
def read(family):
    """How many texts the text encoder has read so far, call by call."""
    counts = []
    hook = family.parts["text_encoder"].register_forward_hook(
        lambda module, given, output: counts.append(len(output[0]))
    )
    yield counts
    hook.remove()


def draw(family, kept, prompts=("a red flower",), **sampling):
    asked = replace(ask(family, prompts=prompts, height=32, width=32, **sampling), kept=kept)
    return [np.asarray(image) for image in family.draw(asked, generators(len(prompts)), lambda: None).images]


@pytest.mark.parametrize("syntax", ["plain", "weighted"])
def test_a_prompt_is_read_once_for_all_batches(family, read, syntax):
    kept = Kept()
    first = draw(family, kept, prompt_syntax=syntax)
    before = len(read)
    assert before > 0
    again = draw(family, kept, prompt_syntax=syntax)
    assert len(read) == before
    assert np.array_equal(first, again)
    assert np.array_equal(first, draw(family, Kept(), prompt_syntax=syntax))
    assert len(read) == 2 * before


@pytest.mark.parametrize(
    "other",
    [
        {"prompts": ("a blue flower",)},
        {"negative_prompt": "house"},
        {"clip_skip": 1},
        {"prompt_syntax": "weighted", "prompts": ("a (red:1.4) flower",)},
    ],
    ids=str,
)
def test_other_texts_or_layers_are_read_anew(family, read, other):
    kept = Kept()
    draw(family, kept)
    before = len(read)
    found = draw(family, kept, **other)
    assert len(read) > before
    assert np.array_equal(found, draw(family, Kept(), **other))
    assert not np.array_equal(found, draw(family, kept))


class Model:
    """Reads texts."""


def test_the_oldest_are_forgotten():
    kept, model = Kept(), Model()
    for i in range(20):
        kept.get(model, str(i), lambda i=i: i)
    assert kept.get(model, "19", lambda: "new") == 19
    assert kept.get(model, "0", lambda: "new") == "new"


def test_another_model_reads_anew_and_the_first_one_can_be_freed():
    kept, first = Kept(), Model()
    kept.get(first, "a rose", lambda: 1)
    gone = ref(first)
    del first
    assert gone() is None
    assert kept.get(Model(), "a rose", lambda: 2) == 2


def test_grids_on_the_way_through_training_read_anew(family, read, tmp_path):
    """The text encoder may have learned since the last one."""
    sampling = {"prompts": ["a rose"], "num_images": 3, "batch_size": 1, "num_inference_steps": 4}
    values = {"version": 1, "name": "drawn", "model": {"type": "pretrained", "id": str(tmp_path / "model")}}
    toys.stable_diffusion(tmp_path / "model")
    settled = settle(read_recipe(parse(json.dumps(values | {"sampling": sampling}), "recipe.yaml"))[0], offline=True)
    samples = Samples(RunFolder.create(tmp_path / "outputs", "drawn"), settled.portable)
    gallery = Gallery(settled.values, samples, create(quiet=True), Stop(""))
    gallery.step_grid(family, 1, 3, None)
    once = len(read)
    gallery.step_grid(family, 2, 3, None)
    gallery.draw(family)
    assert len(read) == 3 * once
