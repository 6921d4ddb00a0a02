"""Stable Diffusion draws what plain diffusers draws from the same folder, byte for byte."""

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
)

from runner.errors import ModelError
from runner.models import toys
from runner.models.described import DISCRETE
from runner.models.single_file import open_checkpoint
from runner.models.stable_diffusion import StableDiffusion
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

OPTIONS = [
    {"type": "DPMSolverMultistep", "use_karras_sigmas": True},
    {"type": "DPMSolverMultistep", "algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
    {"type": "DPMSolverMultistep", "solver_order": 3, "euler_at_final": True},
    {"type": "EulerDiscrete", "timestep_spacing": "trailing"},
    {"type": "UniPCMultistep", "use_exponential_sigmas": True},
    {"type": "DDIM", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
]
SCHEDULERS = [*({"type": name} for name in sorted(DISCRETE)), *OPTIONS]


@pytest.mark.parametrize("section", SCHEDULERS, ids=lambda section: ",".join(map(str, section.values())))
def test_every_sampler(ours, plain, section):
    with scheduler(plain, section) as pipeline:
        assert_same(drawn(ours, scheduler=section), theirs(pipeline))


def test_the_samplers_draw_different_pictures(ours):
    found = {np.asarray(drawn(ours, scheduler={"type": name})[0]).tobytes() for name in sorted(DISCRETE)}
    assert len(found) > 9  # some are the same method at so few steps


def test_its_own_sampler_with_copies_and_all_options(ours, plain):
    call = {"guidance_scale": 6.0, "guidance_rescale": 0.7, "height": 32, "width": 96}
    negative = {"negative_prompt": "a cat"}
    expected = theirs(plain, copies=2, negative_prompt=["a cat", "a cat"], **call)
    assert_same(drawn(ours, copies=2, **negative, **call), expected)
    assert differ(drawn(ours, copies=2, **call), expected)


def test_one_picture_does_not_depend_on_its_neighbours_noise(ours):
    """The bytes may differ with the batch, the picture does not."""
    alone = np.asarray(drawn(ours, prompts=["a cat"])[0], dtype=int)
    beside = np.asarray(drawn(ours, prompts=["a cat", "a dog"])[0], dtype=int)
    assert np.abs(alone - beside).max() <= 1


def test_without_guidance_and_with_eta(ours, plain):
    assert_same(drawn(ours, guidance_scale=1.0), theirs(plain, guidance_scale=1.0))
    section = {"type": "DDIM"}
    with scheduler(plain, section) as pipeline:
        assert_same(drawn(ours, scheduler=section, eta=0.8), theirs(pipeline, eta=0.8))


@pytest.mark.parametrize("name", each(sorted(DISCRETE), few=["DDIM", "EulerDiscrete", "DPMSolverMultistep"]))
def test_velocity_prediction_comes_from_the_model(tmp_path, name):
    toys.stable_diffusion(tmp_path, prediction_type="v_prediction")
    plain = load(StableDiffusionPipeline, tmp_path)
    with scheduler(plain, {"type": name}) as pipeline:
        assert pipeline.scheduler.config["prediction_type"] == "v_prediction"
        assert_same(drawn(built(tmp_path), scheduler={"type": name}), theirs(pipeline))


def test_outdated_scheduler_options_are_mended_as_diffusers_does(tmp_path):
    toys.stable_diffusion(tmp_path, steps_offset=0, skip_prk_steps=False)
    family, steps = built(tmp_path), {"num_inference_steps": 5}
    painting = {"image": picture(), "mask_image": mask(), **steps}
    assert_same(drawn(family, **painting), theirs(load(StableDiffusionInpaintPipeline, tmp_path), **painting))
    assert_same(drawn(family, **steps), theirs(load(StableDiffusionPipeline, tmp_path), **steps))
    section = {"type": "DDIM"}
    with scheduler(load(StableDiffusionPipeline, tmp_path), section) as pipeline:
        assert_same(drawn(family, scheduler=section), theirs(pipeline))


@pytest.mark.parametrize("name", each([None, "HeunDiscrete", "EulerAncestralDiscrete", "LCM"], few=[None]))
def test_from_a_picture(folder, ours, name):
    plain = load(StableDiffusionImg2ImgPipeline, folder)
    section = {"type": name or type(plain.scheduler).__name__.removesuffix("Scheduler")}
    image = picture(72, 49)
    with scheduler(plain, section) as pipeline:
        expected = theirs(pipeline, copies=2, image=image, strength=0.7, num_inference_steps=5)
    own = {} if name is None else {"scheduler": section}
    assert_same(drawn(ours, copies=2, image=image, strength=0.7, num_inference_steps=5, **own), expected)
    assert expected[0].size == (72, 48)


def test_from_a_picture_of_another_size(folder, ours):
    plain = load(StableDiffusionImg2ImgPipeline, folder)
    resized = plain.image_processor.resize(picture(50, 40), 32, 64)
    expected = theirs(plain, image=resized, num_inference_steps=5)
    assert_same(drawn(ours, image=picture(50, 40), height=32, width=64, num_inference_steps=5), expected)


@pytest.mark.parametrize("name", each([None, "HeunDiscrete", "EulerAncestralDiscrete", "DDPM"], few=[None]))
@pytest.mark.parametrize("channels", [4, 9])
def test_inpainting(tmp_path, name, channels):
    toys.stable_diffusion(tmp_path, in_channels=channels)
    plain = load(StableDiffusionInpaintPipeline, tmp_path)
    section = {"type": name or type(plain.scheduler).__name__.removesuffix("Scheduler")}
    call = {"image": picture(), "mask_image": mask(), "num_inference_steps": 5}
    with scheduler(plain, section) as pipeline:
        expected = theirs(pipeline, copies=2, strength=0.8, **call)
    own = {} if name is None else {"scheduler": section}
    family = built(tmp_path)
    assert_same(drawn(family, copies=2, strength=0.8, **own, **call), expected)
    assert differ(drawn(family, **own, **call), expected[::2])  # its own strength is 1


def test_one_model_goes_from_task_to_task(folder):
    family = built(folder)
    first = drawn(family)
    drawn(family, image=picture(), num_inference_steps=5)
    assert_same(drawn(family), first)


def test_another_vae(tmp_path, folder, plain):
    toys.vae(tmp_path)
    replaced = load(StableDiffusionPipeline, folder, vae=AutoencoderKL.from_pretrained(tmp_path))
    ours = drawn(built(folder, vae=tmp_path))
    assert_same(ours, theirs(replaced))
    assert differ(ours, theirs(plain))


@pytest.mark.parametrize("threshold", [2.0, -2.0])
def test_the_safety_checker(tmp_path, threshold):
    toys.stable_diffusion(tmp_path, safety_checker=threshold)
    family = built(tmp_path)
    request = ask(family)
    found = family.draw(request, generators(2), lambda: None)
    plain = load(StableDiffusionPipeline, tmp_path)
    expected = plain(prompt=list(request.prompts), generator=generators(2), num_inference_steps=4)
    assert [np.asarray(i).tobytes() for i in found.images] == [np.asarray(i).tobytes() for i in expected.images]
    assert found.withheld == ((0, 1) if threshold < 0 else ())


def test_memory_savers(folder, plain):
    plain = load(StableDiffusionPipeline, folder)
    plain.enable_attention_slicing()
    plain.vae.enable_slicing()
    plain.vae.enable_tiling()
    family = built(folder, attention_slicing=True, vae_slicing=True, vae_tiling=True)
    assert_same(drawn(family), theirs(plain))
    assert family._pipeline.vae.use_slicing and family._pipeline.vae.use_tiling


def test_half_precision(folder):
    plain = load(StableDiffusionPipeline, folder, dtype=torch.bfloat16)
    family = built(folder, dtype="bf16")
    assert {part.dtype for part in family.parts.values()} == {torch.bfloat16}
    assert_same(drawn(family), theirs(plain))


def test_no_part_is_held_twice(folder):
    family = built(folder)
    before = {name: id(part) for name, part in family.parts.items()}
    drawn(family, image=picture(), num_inference_steps=5)
    assert {name: id(getattr(family._pipeline, name)) for name in before} == before


def test_with_clips_own_tokenizer(tmp_path, shared_data):
    from transformers import CLIPTokenizer

    toys.stable_diffusion(tmp_path, tokenizer=CLIPTokenizer.from_pretrained(shared_data / "clip_tokenizer"))
    prompts = ["masterpiece, best quality, a girl in the rain", "ein Haus am See, 日本"]
    expected = theirs(load(StableDiffusionPipeline, tmp_path), prompts=prompts, negative_prompt=["EasyNegative"] * 2)
    assert_same(drawn(built(tmp_path), prompts=prompts, negative_prompt="EasyNegative"), expected)


def test_a_single_file_draws_as_the_folder_it_came_from(tmp_path, folder, plain):
    path = tmp_path / "model.safetensors"
    write_checkpoint(folder, path)
    checkpoint = open_checkpoint(files_of(path), path.name, files_of(folder), offline=True, allow_pickle=False)
    assert_same(drawn(built(facts_of(checkpoint))), theirs(plain))


def test_its_own_values_are_the_pipelines(folder):
    facts = facts_of(folder)
    found = settled(StableDiffusion, facts, num_inference_steps="auto")
    assert {key: found[key] for key in ("height", "width", "num_inference_steps", "guidance_scale", "strength")} == {
        **{"height": 64, "width": 64, "num_inference_steps": 50, "guidance_scale": 7.5, "strength": None}
    }
    changed = settled(StableDiffusion, facts, init_image="x.png")
    assert (changed["height"], changed["strength"]) == (None, 0.8)
    painted = settled(StableDiffusion, facts, init_image="x.png", mask_image="y.png")
    assert (painted["height"], painted["strength"]) == (64, 1.0)


@pytest.mark.parametrize(
    ("sampling", "key", "words"),
    [
        ({"prompts": None}, "prompts", "give prompts"),
        ({"scheduler": {"type": "FlowMatchEulerDiscrete"}}, "scheduler.type", "noise is of another kind: write DDIM"),
        ({"scheduler": {"type": "LCM"}, "num_inference_steps": 60}, "num_inference_steps", "original"),
        (
            {"scheduler": {"type": "DDIM"}, "num_inference_steps": 1001},
            "num_inference_steps",
            "trained on 1,000 steps and cannot draw in 1,001: write at most 1,000",
        ),
        ({"scheduler": {"type": "DDIM", "trained_betas": [1.0, "x"]}}, "scheduler.type", "DDIM cannot draw so"),
        ({"clip_skip": 5}, "clip_skip", "at most 4"),
        ({"height": 60}, "height", "multiples of 8: write 64"),
        ({"height": None}, "width", "both"),
    ],
)
def test_what_does_not_fit_is_found_before_drawing(folder, sampling, key, words):
    facts = facts_of(folder)
    (found,) = StableDiffusion.problems(facts, settled(StableDiffusion, facts, **sampling))
    assert found.key == key
    assert words in found.message
    assert "`" not in found.message


@pytest.mark.parametrize(
    ("sampling", "key", "words"),
    [
        ({"guidance_rescale": 0.5}, "guidance_rescale", "drawing from init_image with stable_diffusion has no"),
        ({"strength": 0.1}, "strength", "leaves none"),
    ],
)
def test_what_does_not_fit_a_picture(tmp_path, folder, sampling, key, words):
    picture().save(tmp_path / "picture.png")
    facts = facts_of(folder)
    section = settled(StableDiffusion, facts, init_image=str(tmp_path / "picture.png"), **sampling)
    (found,) = StableDiffusion.problems(facts, section)
    assert found.key == key
    assert words in found.message


def test_a_tiny_picture_is_refused(tmp_path, folder):
    picture(30, 5).save(tmp_path / "picture.png")
    facts = facts_of(folder)
    section = settled(StableDiffusion, facts, init_image=str(tmp_path / "picture.png"))
    assert ["30×5" in found.message for found in StableDiffusion.problems(facts, section)] == [True]


@pytest.mark.parametrize("skipped", each([1, 2, 4], few=[1, 4]))
@pytest.mark.parametrize("task", [{}, {"image": picture()}, {"image": picture(), "mask_image": mask()}])
def test_clip_skip(folder, ours, skipped, task):
    """diffusers' own code for it fails with transformers 5, so the embeddings are made by hand here."""
    facts = facts_of(folder)
    assert not list(StableDiffusion.problems(facts, settled(StableDiffusion, facts, clip_skip=skipped)))
    classes = [StableDiffusionPipeline, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline]
    pipeline = load(classes[len(task)], folder)

    def embedded(prompts):
        ids = pipeline.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        states = pipeline.text_encoder(ids, output_hidden_states=True).hidden_states
        return pipeline.text_encoder.final_layer_norm(states[-1 - skipped]).detach()

    # As the pipelines do, the negative prompts' last layer is taken.
    empty = pipeline.tokenizer([""] * 2, padding="max_length", return_tensors="pt").input_ids
    noise = generators(2)
    expected = pipeline(
        prompt_embeds=embedded(list(PROMPTS)),
        negative_prompt_embeds=pipeline.text_encoder(empty)[0].detach(),
        generator=noise,
        num_inference_steps=5,
        **task,
    ).images
    assert_same(drawn(ours, clip_skip=skipped, num_inference_steps=5, **task), expected)
    assert not hasattr(ours.parts["text_encoder"], "text_model")


def test_a_model_made_for_inpainting_needs_its_pictures(tmp_path):
    toys.stable_diffusion(tmp_path, in_channels=9)
    facts = facts_of(tmp_path)
    (found,) = StableDiffusion.problems(facts, settled(StableDiffusion, facts))
    assert (found.key, found.rule) == ("init_image", "inpainting-model")


def test_a_folder_without_a_part(tmp_path):
    toys.stable_diffusion(tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text(index.read_text().replace('"vae"', '"vae_1"'))
    with pytest.raises(ModelError, match="has no vae"):
        facts_of(tmp_path)


def test_a_part_of_another_class(tmp_path):
    toys.stable_diffusion(tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text(index.read_text().replace("AutoencoderKL", "CLIPTextModel"))
    with pytest.raises(ModelError, match=r"a vae of class CLIPTextModel: this version of recipe reads AutoencoderKL"):
        facts_of(tmp_path)


def test_a_scheduler_of_another_kind(tmp_path):
    toys.stable_diffusion(tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text(index.read_text().replace("PNDMScheduler", "FlowMatchEulerDiscreteScheduler"))
    with pytest.raises(ModelError, match="a scheduler of class FlowMatchEulerDiscreteScheduler"):
        facts_of(tmp_path)


def test_any_saved_scheduler_of_its_kind_will_do(tmp_path):
    toys.stable_diffusion(tmp_path)
    plain = load(StableDiffusionPipeline, tmp_path)
    plain.scheduler = DDPMScheduler.from_config(plain.scheduler.config)
    plain.save_pretrained(tmp_path)
    assert_same(drawn(built(tmp_path)), theirs(load(StableDiffusionPipeline, tmp_path)))


def test_skeletons_and_rehearsal(folder):
    facts = facts_of(folder)
    parts = StableDiffusion.skeletons(facts)
    assert list(parts) == ["unet", "text_encoder", "vae"]
    with torch.device("meta"):
        plain = StableDiffusion.rehearse(parts["unet"], facts, None)
        guided = StableDiffusion.rehearse(parts["unet"], facts, settled(StableDiffusion, facts, height=32, width=96))
    assert (tuple(plain.shape), tuple(guided.shape)) == ((1, 4, 8, 8), (2, 4, 4, 12))


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


def test_what_is_cut_off_is_told(folder, ours):
    long = ["a cat", "a blue house " + "zoom " * 30]
    (notice,) = ours.notices(ask(ours, prompts=long))
    assert notice.startswith("a prompt is longer than 77 tokens and ends unread: 'zoom zoom")
    assert notice.endswith("; prompt_syntax: weighted reads all of it")
    assert ours.notices(ask(ours, prompts=long, prompt_syntax="weighted")) == []
    (notice,) = ours.notices(ask(ours, negative_prompt=long[1]))
    assert notice.startswith("a negative prompt is longer")


def test_a_stretched_picture_is_told(ours):
    (notice,) = ours.notices(ask(ours, image=picture(96, 64), mask_image=mask(96, 64)))
    assert notice.startswith("init_image has 96×64 pixels and is stretched to 64×64")
    assert ours.notices(ask(ours, image=picture(96, 64), mask_image=mask(96, 64), height=64, width=96)) == []
    assert ours.notices(ask(ours, image=picture(96, 64))) == []


def test_a_weighted_prompt_that_cannot_be_read(folder):
    facts = facts_of(folder)
    section = settled(StableDiffusion, facts, prompts=["a cat", "[a:b:0.5]"], prompt_syntax="weighted")
    (found,) = StableDiffusion.problems(facts, section)
    assert found.key == "prompts.1"
    assert "prompt editing" in found.message
