"""Drawing on a GPU in fp16, its default: the bytes of plain diffusers, wherever the parts wait for their turn."""

import numpy as np
import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionXLImg2ImgPipeline,
)
from PIL import Image

from tests.gpu.runs import DEVICE, run
from tests.models.drawing import assert_same, built, drawn, load, picture, theirs
from tests.training.finetune import settled

IMG2IMG = {"stable_diffusion": StableDiffusionImg2ImgPipeline, "stable_diffusion_xl": StableDiffusionXLImg2ImgPipeline}
OFFLOADS = ["none", "model", "sequential"]


@pytest.fixture(scope="module", params=IMG2IMG)
def family(request):
    return request.param


def plain(folder, cls=DiffusionPipeline):
    return load(cls, folder, torch_dtype=torch.float16).to(DEVICE)


def ours(folder, **compute):
    return built(folder, device=DEVICE, **{"dtype": "fp16", **compute})


@pytest.fixture(scope="module")
def expected(toy, family):
    return theirs(plain(toy(family)))


@pytest.mark.parametrize("offload", OFFLOADS)
def test_pictures_are_those_of_plain_diffusers(toy, family, expected, offload):
    """The second time, the parts have gone and come back."""
    model = ours(toy(family), offload=offload)
    for _ in range(2):
        assert_same(drawn(model), expected)


@pytest.mark.parametrize("offload", OFFLOADS)
def test_prompts_are_read_where_the_encoders_compute(toy, family, expected, offload):
    model = ours(toy(family), offload=offload)
    assert_same(drawn(model, prompt_syntax="weighted"), expected)
    heavy = drawn(model, prompt_syntax="weighted", prompts=("a (red:1.5) flower", "the [blue] house BREAK a tree"))
    assert all(np.asarray(image).std() > 5 for image in heavy)


@pytest.mark.parametrize("offload", OFFLOADS)
def test_another_task_takes_over_the_parts(toy, family, offload):
    call = {"image": picture(), "num_inference_steps": 5}
    model = ours(toy(family), offload=offload)
    drawn(model)
    assert_same(drawn(model, **call), theirs(plain(toy(family), IMG2IMG[family]), **call))


@pytest.mark.parametrize("offload", OFFLOADS)
def test_slices_and_tiles_draw_the_same_but_for_seams(toy, offload):
    sliced = ours(toy("stable_diffusion"), offload=offload, vae_slicing=True, vae_tiling=True, attention_slicing=True)
    size = {"height": 128, "width": 128}
    whole = theirs(plain(toy("stable_diffusion")), **size)
    for one, other in zip(drawn(sliced, **size), whole, strict=True):
        one, other = (np.asarray(image, dtype=float) for image in (one, other))
        assert one.shape == other.shape == (128, 128, 3)
        assert one.std() > 5 and np.abs(one - other).mean() < 16


def test_a_recipe_draws_so_by_itself(here, toy):
    folder = toy("stable_diffusion")
    asked = {"prompts": ["a red flower"], "num_images": 2, "batch_size": 2, "num_inference_steps": 4}
    model = {"type": "pretrained", "id": str(folder)}
    done = run({"version": 1, "name": "drawn", "seed": 5, "model": model, "sampling": asked})
    compute = settled(done)["compute"]
    assert (compute["device"], compute["dtype"], compute["offload"]) == ("cuda", "fp16", "none")
    found = [Image.open(done / "samples" / f"0000{i}.png") for i in range(2)]
    assert_same(found, theirs(plain(folder), prompts=("a red flower",), copies=2))
