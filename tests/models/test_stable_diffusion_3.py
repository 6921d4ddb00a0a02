"""Stable Diffusion 3 draws what plain diffusers draws from the same folder, byte for byte."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Img2ImgPipeline, StableDiffusion3InpaintPipeline, StableDiffusion3Pipeline

from runner.language.rules_flow import FLOW_SOLVERS
from runner.models import toys
from runner.models.stable_diffusion_3 import StableDiffusion3
from tests.models.drawing import (
    ask,
    assert_same,
    built,
    differ,
    drawn,
    facts_of,
    load,
    mask,
    picture,
    scheduler,
    settled,
    theirs,
)

FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
OPTIONS = [
    {"type": "FlowMatchEulerDiscrete"},
    {"type": "FlowMatchEulerDiscrete", "shift": 1.0, "use_karras_sigmas": True},
    {"type": "FlowMatchEulerDiscrete", "use_dynamic_shifting": True},
    {"type": "FlowMatchEulerDiscrete", "stochastic_sampling": True},
    {"type": "FlowMatchEulerDiscrete", "use_dynamic_shifting": True, "time_shift_type": "linear"},
    {"type": "FlowMatchEulerDiscrete", "shift_terminal": 0.1},
    {"type": "DPMSolverMultistep", **FLOW},
    {"type": "DPMSolverMultistep", **FLOW, "flow_shift": 3.0},
    {"type": "DPMSolverMultistep", **FLOW, "use_dynamic_shifting": True, "algorithm_type": "sde-dpmsolver++"},
    {"type": "DPMSolverSinglestep", **FLOW, "flow_shift": 3.0},
    {"type": "UniPCMultistep", **FLOW, "flow_shift": 3.0},
    {"type": "UniPCMultistep", **FLOW, "use_dynamic_shifting": True},
]


@pytest.mark.parametrize("section", OPTIONS, ids=lambda section: ",".join(map(str, section)))
def test_every_sampler(ours, plain, section):
    torch.manual_seed(5)  # stochastic_sampling draws from torch's own generator; ours begins as the first picture's
    with scheduler(plain, section) as pipeline:
        expected = theirs(pipeline)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert_same(drawn(ours, scheduler=section), expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_samplers_differ(ours):
    sections = [{"type": name, **FLOW, "flow_shift": 3.0} for name in sorted(FLOW_SOLVERS)]
    asked = [{"type": "FlowMatchEulerDiscrete"}, *sections, {**sections[0], "flow_shift": 1.0}]
    assert len({np.asarray(drawn(ours, scheduler=section)[0]).tobytes() for section in asked}) == len(asked)


def test_all_its_texts_and_options(ours, plain):
    call = {"guidance_scale": 4.0, "clip_skip": 1, "height": 32, "width": 96, "max_sequence_length": 77}
    texts = {"prompt_2": "a dog", "prompt_3": "a tree", "negative_prompt": "red", "negative_prompt_3": "green"}
    expected = theirs(plain, copies=2, **{key: [text] * 2 for key, text in texts.items()}, **call)
    assert_same(drawn(ours, copies=2, **texts, **call), expected)


def test_the_second_negative_prompt_alone_counts(ours, plain):
    assert_same(drawn(ours, negative_prompt_2="red"), theirs(plain, negative_prompt_2=["red", "red"]))


def test_without_its_third_encoder(tmp_path, plain):
    toys.stable_diffusion_3(tmp_path, t5=False)
    without = load(StableDiffusion3Pipeline, tmp_path, text_encoder_3=None, tokenizer_3=None)
    ours = drawn(built(tmp_path))
    assert_same(ours, theirs(without))
    assert differ(ours, theirs(plain))
    facts = facts_of(tmp_path)
    (found,) = StableDiffusion3.problems(facts, settled(StableDiffusion3, facts, prompt_3="a tree"))
    assert (found.key, found.rule) == ("prompt_3", "no-third-encoder")


def test_from_a_picture(folder, ours):
    """diffusers fails on one picture with several generators: it is given as often as it is needed."""
    image, steps = picture(80, 48), {"num_inference_steps": 5}
    plain = load(StableDiffusion3Img2ImgPipeline, folder)
    assert_same(drawn(ours, copies=2, image=image, **steps), theirs(plain, copies=2, image=[image] * 4, **steps))
    call = {"strength": 0.85, "height": 48, "width": 80, "prompts": ["a cat"], **steps}
    assert_same(drawn(ours, image=image, **call), theirs(plain, image=image, **call))


def test_inpainting(folder, ours):
    call = {"image": picture(), "mask_image": mask(), "num_inference_steps": 5}
    assert_same(drawn(ours, **call), theirs(load(StableDiffusion3InpaintPipeline, folder), **call))


@pytest.mark.slow
def test_with_clips_own_tokenizer(tmp_path, shared_data):
    from transformers import CLIPTokenizer

    toys.stable_diffusion_3(tmp_path, tokenizer=CLIPTokenizer.from_pretrained(shared_data / "clip_tokenizer"))
    prompts = ["masterpiece, best quality, a girl in the rain"]
    assert_same(
        drawn(built(tmp_path), prompts=prompts), theirs(load(StableDiffusion3Pipeline, tmp_path), prompts=prompts)
    )


def test_its_own_values_are_the_pipelines(folder):
    facts = facts_of(folder)
    found = settled(StableDiffusion3, facts, num_inference_steps="auto")
    assert {key: found[key] for key in ("height", "num_inference_steps", "guidance_scale", "max_sequence_length")} == {
        **{"height": 64, "num_inference_steps": 28, "guidance_scale": 7.0, "max_sequence_length": 256}
    }
    changed = settled(StableDiffusion3, facts, num_inference_steps="auto", init_image="x.png")
    assert (changed["height"], changed["num_inference_steps"], changed["strength"]) == (64, 50, 0.6)


@pytest.mark.parametrize(
    ("sampling", "key", "words"),
    [
        ({"scheduler": {"type": "EulerDiscrete"}}, "scheduler.type", "UniPCMultistep"),
        (
            {"scheduler": {"type": "DPMSolverMultistep", "flow_shift": 2.0}},
            "scheduler.type",
            "{type: DPMSolverMultistep, prediction_type: flow_prediction, use_flow_sigmas: true, flow_shift: 3.0}",
        ),
        (
            {"scheduler": {"type": "UniPCMultistep", "use_flow_sigmas": True}},
            "scheduler.type",
            "UniPCMultistep draws no stable_diffusion_3 model without its keys",
        ),
        (
            {"scheduler": {"type": "UniPCMultistep", **FLOW, "predict_x0": False, "final_sigmas_type": "sigma_min"}},
            "scheduler.type",
            "UniPCMultistep cannot draw so",
        ),
        ({"width": 72}, "width", "multiples of 16: write 64"),
        ({"clip_skip": 4}, "clip_skip", "at most 3"),
        ({"max_sequence_length": 600}, "max_sequence_length", "at most 512"),
    ],
)
def test_what_does_not_fit_is_found_before_drawing(folder, sampling, key, words):
    facts = facts_of(folder)
    (found,) = StableDiffusion3.problems(facts, settled(StableDiffusion3, facts, **sampling))
    assert found.key == key
    assert words in found.message


@pytest.mark.parametrize("name", sorted(FLOW_SOLVERS))
@pytest.mark.parametrize("mask_image", [None, "mask.png"])
def test_from_a_picture_its_own_scheduler_alone_draws(folder, tmp_path, name, mask_image):
    facts = facts_of(folder)
    picture().save(tmp_path / "picture.png")
    asked = {"init_image": str(tmp_path / "picture.png"), "mask_image": mask_image}
    section = {"type": name, **FLOW}
    (found,) = StableDiffusion3.problems(facts, settled(StableDiffusion3, facts, scheduler=section, **asked))
    assert found.key == "scheduler.type"
    assert found.message.endswith("with init_image use FlowMatchEulerDiscrete")


def test_a_shift_that_is_left_out_is_told(ours):
    section = {"type": "UniPCMultistep", **FLOW}
    (notice,) = ours.notices(ask(ours, scheduler=section))
    assert notice.endswith("the model's own scheduler has shift: 3.0: flow_shift: 3.0 keeps it")
    for more in ({"flow_shift": 1.0}, {"use_dynamic_shifting": True}):
        assert ours.notices(ask(ours, scheduler={**section, **more})) == []
    assert ours.notices(ask(ours, scheduler={"type": "FlowMatchEulerDiscrete"})) == []


def test_rehearsal(folder):
    facts = facts_of(folder)
    parts = StableDiffusion3.skeletons(facts)
    assert list(parts) == ["transformer", "text_encoder", "text_encoder_2", "text_encoder_3", "vae"]
    with torch.device("meta"):
        output = StableDiffusion3.rehearse(parts["transformer"], facts, settled(StableDiffusion3, facts, width=32))
    assert tuple(output.shape) == (2, 16, 8, 4)


def test_what_its_longest_reader_loses_is_told(tmp_path, ours):
    long = "zoom " * 30
    assert ours.notices(ask(ours, prompts=[long])) == []
    toys.stable_diffusion_3(tmp_path, t5=False)
    family = built(tmp_path)
    (notice,) = family.notices(ask(family, prompts=[long]))
    assert notice.startswith("a prompt is longer than 77 tokens")
    assert notice.endswith("; shorten it")
