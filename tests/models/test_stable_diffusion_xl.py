"""SDXL draws what plain diffusers draws, and hands on to a refiner as plain diffusers does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline, StableDiffusionXLPipeline

from runner.models import toys
from runner.models.described import DISCRETE
from runner.models.single_file import open_checkpoint
from runner.models.stable_diffusion_xl import StableDiffusionXL
from tests.conftest import each
from tests.models.drawing import (
    PROMPTS,
    ask,
    assert_same,
    built,
    differ,
    drawn,
    facts_of,
    files_of,
    generators,
    load,
    mask,
    picture,
    scheduler,
    settled,
    theirs,
)
from tests.single_file_maker import write_checkpoint

FEW = ["EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "DPMSolverMultistep", "UniPCMultistep", "PNDM"]
SCHEDULERS = [
    *each([{"type": name} for name in sorted(DISCRETE)], few=[{"type": name} for name in FEW]),
    {"type": "DPMSolverMultistep", "use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++"},
]


@pytest.fixture(scope="module")
def refiner_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("refiner")
    toys.sdxl_refiner(path)
    return path


@pytest.mark.parametrize("section", SCHEDULERS, ids=lambda section: ",".join(map(str, section.values())))
def test_every_sampler(ours, plain, section):
    with scheduler(plain, section) as pipeline:
        assert_same(drawn(ours, scheduler=section), theirs(pipeline))


def test_all_its_texts_and_options(ours, plain):
    call = {"guidance_scale": 6.0, "guidance_rescale": 0.5, "clip_skip": 1, "height": 96, "width": 32}
    texts = {"prompt_2": "a dog", "negative_prompt": "red", "negative_prompt_2": "green"}
    expected = theirs(plain, copies=2, **{key: [text] * 2 for key, text in texts.items()}, **call)
    assert_same(drawn(ours, copies=2, **texts, **call), expected)


def test_no_negative_prompt_is_zeros(ours, plain):
    assert_same(drawn(ours), theirs(plain))
    assert differ(drawn(ours), theirs(plain, negative_prompt=["", ""]))


def test_the_second_negative_prompt_alone_counts(ours, plain):
    expected = theirs(plain, negative_prompt=["", ""], negative_prompt_2=["green", "green"])
    assert_same(drawn(ours, negative_prompt_2="green"), expected)


@pytest.mark.parametrize("name", ["EulerDiscrete", "HeunDiscrete", "EulerAncestralDiscrete"])
def test_from_a_picture(folder, ours, name):
    section, image = {"type": name}, picture(96, 56)
    call = {"image": image, "strength": 0.6, "num_inference_steps": 5}
    with scheduler(load(StableDiffusionXLImg2ImgPipeline, folder), section) as pipeline:
        assert_same(drawn(ours, copies=2, scheduler=section, **call), theirs(pipeline, copies=2, **call))


@pytest.mark.parametrize("channels", [4, 9])
def test_inpainting(tmp_path, channels):
    toys.stable_diffusion_xl(tmp_path, in_channels=channels)
    call = {"image": picture(), "mask_image": mask(), "num_inference_steps": 5}
    plain = load(StableDiffusionXLInpaintPipeline, tmp_path)
    family = built(tmp_path)
    assert_same(drawn(family, copies=2, **call), theirs(plain, copies=2, **call))
    assert_same(drawn(family, strength=0.7, **call), theirs(plain, strength=0.7, **call))


@pytest.mark.parametrize("name", ["EulerDiscrete", "HeunDiscrete", "EulerAncestralDiscrete", "DPMSolverMultistep"])
@pytest.mark.parametrize("fraction", each([0.8, 0.5], few=[0.8]))
def test_the_refiner_ends_what_the_base_began(folder, refiner_folder, ours, plain, name, fraction):
    section = {"type": name}
    steps, noise = {"num_inference_steps": 6}, generators(4)
    with scheduler(plain, section) as pipeline:
        latents = pipeline(
            prompt=list(PROMPTS),
            num_images_per_prompt=2,
            generator=noise,
            denoising_end=fraction,
            output_type="latent",
            **steps,
        ).images
    with scheduler(load(StableDiffusionXLImg2ImgPipeline, refiner_folder), section) as pipeline:
        expected = pipeline(
            prompt=list(PROMPTS),
            num_images_per_prompt=2,
            generator=noise,
            denoising_start=fraction,
            image=latents,
            **steps,
        ).images

    request = ask(ours, copies=2, scheduler=section, refiner={"high_noise_frac": fraction}, **steps)
    noise, ticks = generators(4), []
    handed = ours.draw(request, noise, lambda: ticks.append(1))
    assert handed.images == []
    assert torch.equal(handed.latents, latents)
    assert len(ticks) == ours.calls(request)
    refiner, ticks = built(refiner_folder), []
    request = replace(request, latents=handed.latents)
    ended = refiner.draw(request, noise, lambda: ticks.append(1))
    assert len(ticks) == refiner.calls(request)
    assert_same(ended.images, expected)


def test_a_model_without_zeros_for_no_negative_prompt(tmp_path, folder, plain):
    unlike = load(StableDiffusionXLPipeline, folder, force_zeros_for_empty_prompt=False)
    unlike.save_pretrained(tmp_path)
    ours = drawn(built(tmp_path))
    assert_same(ours, theirs(unlike))
    assert differ(ours, theirs(plain))


def test_with_clips_own_tokenizer(tmp_path, shared_data):
    from transformers import CLIPTokenizer

    toys.stable_diffusion_xl(tmp_path, tokenizer=CLIPTokenizer.from_pretrained(shared_data / "clip_tokenizer"))
    prompts = ["masterpiece, best quality, a girl in the rain"]
    expected = theirs(load(StableDiffusionXLPipeline, tmp_path), prompts=prompts, negative_prompt=["blurry"])
    assert_same(drawn(built(tmp_path), prompts=prompts, negative_prompt="blurry"), expected)


def test_a_single_file_draws_as_the_folder_it_came_from(tmp_path, folder, plain):
    path = tmp_path / "model.safetensors"
    write_checkpoint(folder, path)
    checkpoint = open_checkpoint(files_of(path), path.name, files_of(folder), offline=True, allow_pickle=False)
    assert_same(drawn(built(facts_of(checkpoint))), theirs(plain))


def test_its_own_values_are_the_pipelines(folder):
    facts = facts_of(folder)
    found = settled(StableDiffusionXL, facts, num_inference_steps="auto")
    assert (found["num_inference_steps"], found["guidance_scale"], found["height"]) == (50, 5.0, 64)
    changed = settled(StableDiffusionXL, facts, init_image="x.png", mask_image="y.png")
    assert (changed["guidance_scale"], changed["strength"]) == (7.5, 0.9999)


def test_clip_skip_may_leave_one_layer_less(folder):
    facts = facts_of(folder)
    (found,) = StableDiffusionXL.problems(facts, settled(StableDiffusionXL, facts, clip_skip=4))
    assert "at most 3" in found.message


def test_rehearsal(folder):
    facts = facts_of(folder)
    with torch.device("meta"):
        unet = StableDiffusionXL.skeletons(facts)["unet"]
        assert tuple(StableDiffusionXL.rehearse(unet, facts, settled(StableDiffusionXL, facts)).shape) == (2, 4, 8, 8)


def test_half_precision(folder):
    plain = load(StableDiffusionXLPipeline, folder, dtype=torch.bfloat16)
    assert_same(drawn(built(folder, dtype="bf16")), theirs(plain))
    assert np.asarray(theirs(plain)[0]).std() > 5


def test_weighted_prompts_without_weights_are_the_plain_ones(ours, plain):
    expected = theirs(plain, copies=2, negative_prompt=["red", "red"])
    assert_same(drawn(ours, copies=2, negative_prompt="red", prompt_syntax="weighted"), expected)


def test_weights_change_the_picture(ours):
    weighted = drawn(ours, prompts=["a (red:1.5) flower", "(the blue house)"], prompt_syntax="weighted")
    assert differ(weighted, drawn(ours, prompts=["a red flower", "the blue house"], prompt_syntax="weighted"))
    assert differ(weighted, drawn(ours, prompts=["a (red:1.5) flower", "(the blue house)"]))


def test_long_weighted_prompts_are_read_to_their_end(ours):
    long = "zoom " * 30
    call = {"negative_prompt": "a cat", "prompt_syntax": "weighted"}
    assert differ(drawn(ours, prompts=[long + "red"], **call), drawn(ours, prompts=[long + "blue"], **call))


def test_weighted_prompts_without_a_negative_one_are_the_plain_ones(ours, plain):
    assert_same(drawn(ours, prompt_syntax="weighted"), theirs(plain))
    assert_same(drawn(ours, prompt_syntax="weighted", guidance_scale=1.0), theirs(plain, guidance_scale=1.0))
    texts = {"prompt_2": "a dog", "negative_prompt": "red", "negative_prompt_2": "green"}
    expected = theirs(plain, **{key: [text] * 2 for key, text in texts.items()}, clip_skip=1)
    assert_same(drawn(ours, prompt_syntax="weighted", clip_skip=1, **texts), expected)


@pytest.mark.parametrize("half", ["decoder", "encoder"])
def test_a_vae_that_overflows_in_fp16_does_not_where_training_computes_in_it(tmp_path, half):
    """As SDXL's own: diffusers lets it compute in fp32, which autocast would undo."""
    toys.stable_diffusion_xl(tmp_path)
    model = built(tmp_path)
    with torch.no_grad():
        for weight in getattr(model.parts["vae"], half).conv_in.parameters():
            weight.mul_(1e6)  # the next norm takes it out again
    exact = drawn(model, image=picture(), num_inference_steps=5)
    with torch.autocast("cpu", torch.float16):
        found = drawn(model, image=picture(), num_inference_steps=5)
    for one, other in zip(exact, found, strict=True):
        assert np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).mean() < 8
        assert np.asarray(one).std() > 5
