"""A refiner goes over a finished picture as plain diffusers does; beside a base model: test_stable_diffusion_xl.py."""

import pytest
import torch
from diffusers import StableDiffusionXLInpaintPipeline

from runner.models.described import DISCRETE
from runner.models.sdxl_refiner import SDXLRefiner
from tests.conftest import each
from tests.models.drawing import (
    assert_same,
    drawn,
    facts_of,
    load,
    mask,
    picture,
    scheduler,
    settled,
    theirs,
)


@pytest.mark.parametrize("name", each(sorted(DISCRETE), few=["EulerDiscrete", "HeunDiscrete", "LCM"]))
def test_every_sampler(ours, plain, name):
    call = {"image": picture(), "strength": 0.7, "num_inference_steps": 5}
    with scheduler(plain, {"type": name}) as pipeline:
        assert_same(drawn(ours, scheduler={"type": name}, **call), theirs(pipeline, **call))


def test_its_own_strength_and_texts(ours, plain):
    call = {"image": picture(72, 40), "num_inference_steps": 10}
    expected = theirs(plain, copies=2, negative_prompt=["red", "red"], **call)
    assert_same(drawn(ours, copies=2, negative_prompt="red", **call), expected)


def test_inpainting(folder, ours):
    call = {"image": picture(), "mask_image": mask(), "num_inference_steps": 4}
    assert_same(drawn(ours, **call), theirs(load(StableDiffusionXLInpaintPipeline, folder), **call))


def test_alone_it_needs_a_picture(folder):
    facts = facts_of(folder)
    (found,) = SDXLRefiner.problems(facts, settled(SDXLRefiner, facts))
    assert (found.key, found.rule) == ("init_image", "refiner-alone")
    assert settled(SDXLRefiner, facts)["strength"] == 0.3
    assert "prompt_2" not in SDXLRefiner.KEYS


def test_rehearsal(folder):
    facts = facts_of(folder)
    parts = SDXLRefiner.skeletons(facts)
    assert list(parts) == ["unet", "text_encoder_2", "vae"]
    with torch.device("meta"):
        assert tuple(SDXLRefiner.rehearse(parts["unet"], facts, None).shape) == (1, 4, 8, 8)


def test_weighted_prompts_without_weights_are_the_plain_ones(ours, plain):
    call = {"image": picture(), "num_inference_steps": 10}
    assert_same(drawn(ours, prompt_syntax="weighted", **call), theirs(plain, **call))
