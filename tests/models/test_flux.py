"""Flux draws what plain diffusers draws from the same folder, byte for byte."""

from dataclasses import replace

import pytest
import torch
from diffusers import FluxImg2ImgPipeline, FluxInpaintPipeline, FluxPipeline

from runner.language.rules_flow import FLOW_SOLVERS
from runner.models import toys
from runner.models.flux import Flux
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

SIZE = {"height": 64, "width": 64}
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
OPTIONS = [
    {"type": "FlowMatchEulerDiscrete"},
    {"type": "FlowMatchEulerDiscrete", "use_dynamic_shifting": False, "shift": 2.0},
    {"type": "FlowMatchEulerDiscrete", "use_exponential_sigmas": True},
    {"type": "FlowMatchEulerDiscrete", "stochastic_sampling": True},
    {"type": "FlowMatchEulerDiscrete", "time_shift_type": "linear", "shift_terminal": 0.1},
    {"type": "DPMSolverMultistep", **FLOW},
    {"type": "DPMSolverMultistep", **FLOW, "algorithm_type": "sde-dpmsolver++", "final_sigmas_type": "sigma_min"},
    {"type": "DPMSolverSinglestep", **FLOW},
    {"type": "UniPCMultistep", **FLOW},
    {"type": "UniPCMultistep", **FLOW, "use_dynamic_shifting": False, "flow_shift": 3.0},
]


@pytest.mark.parametrize("section", OPTIONS, ids=lambda section: ",".join(map(str, section)))
def test_every_sampler(ours, plain, section):
    torch.manual_seed(5)  # stochastic_sampling draws from torch's own generator; ours begins as the first picture's
    with scheduler(plain, section) as pipeline:
        expected = theirs(pipeline, **SIZE)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert_same(drawn(ours, scheduler=section, **SIZE), expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_all_its_texts_and_options(ours, plain):
    call = {"guidance_scale": 2.0, "height": 32, "width": 96, "max_sequence_length": 128}
    assert_same(
        drawn(ours, copies=2, prompt_2="a tree", **call), theirs(plain, copies=2, prompt_2=["a tree"] * 2, **call)
    )


def test_true_guidance(ours, plain):
    call = {"true_cfg_scale": 3.0, **SIZE}
    texts = {"negative_prompt": "red", "negative_prompt_2": "green"}
    expected = theirs(plain, **{key: [text] * 2 for key, text in texts.items()}, **call)
    assert_same(drawn(ours, **texts, **call), expected)
    empty = theirs(plain, negative_prompt=["", ""], **call)
    assert_same(drawn(ours, **call), empty)
    assert differ(empty, theirs(plain, **SIZE))


def test_a_model_without_guidance(tmp_path):
    toys.flux(tmp_path, guidance_embeds=False)
    family, plain = built(tmp_path), load(FluxPipeline, tmp_path)
    assert_same(drawn(family, **SIZE), theirs(plain, **SIZE))
    for section in (
        {"type": "DPMSolverMultistep", **FLOW, "use_dynamic_shifting": True},
        {"type": "UniPCMultistep", **FLOW, "flow_shift": 3.0},
    ):
        with scheduler(plain, section) as pipeline:
            expected = theirs(pipeline, **SIZE)
        assert_same(drawn(family, scheduler=section, **SIZE), expected)
    with torch.device("meta"):
        transformer = Flux.skeletons(family.facts)["transformer"]
        assert tuple(Flux.rehearse(transformer, family.facts, SIZE).shape) == (1, 16, 64)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"type": "DPMSolverMultistep"}, "use_flow_sigmas: true, use_dynamic_shifting: true}"),
        ({"type": "UniPCMultistep"}, "use_flow_sigmas: true, flow_shift: 3.0}"),
        ({"type": "DPMSolverSinglestep", **FLOW, "flow_shift": 3.0}, "only with use_dynamic_shifting: true"),
        ({"type": "UniPCMultistep", **FLOW}, None),
        ({"type": "DPMSolverMultistep", **FLOW, "use_dynamic_shifting": True}, None),
    ],
)
def test_how_a_model_without_dynamic_shifting_is_shifted(tmp_path, section, words):
    toys.flux(tmp_path, guidance_embeds=False)
    facts = facts_of(tmp_path)
    found = [problem.message for problem in Flux.problems(facts, settled(Flux, facts, scheduler=section, **SIZE))]
    assert len(found) == (words is not None)
    assert all(words in message for message in found)


def test_a_linear_shift_is_not_of_every_solver(folder):
    facts = facts_of(folder)
    own = {**facts.configs["scheduler"], "time_shift_type": "linear"}
    facts = replace(facts, configs={**facts.configs, "scheduler": own})
    for name, count in (("DPMSolverMultistep", 1), ("DPMSolverSinglestep", 1), ("UniPCMultistep", 0)):
        found = list(Flux.problems(facts, settled(Flux, facts, scheduler={"type": name, **FLOW}, **SIZE)))
        assert [problem.key for problem in found] == ["scheduler.type"] * count


def test_from_a_picture(folder, ours):
    call = {"image": picture(80, 48), "num_inference_steps": 5, **SIZE}
    plain = load(FluxImg2ImgPipeline, folder)
    assert_same(drawn(ours, copies=2, **call), theirs(plain, copies=2, **call))
    assert_same(drawn(ours, strength=0.9, **call), theirs(plain, strength=0.9, **call))


def test_inpainting(folder, ours):
    call = {"image": picture(), "mask_image": mask(), "num_inference_steps": 5, **SIZE}
    assert_same(drawn(ours, **call), theirs(load(FluxInpaintPipeline, folder), **call))


@pytest.mark.slow
def test_with_clips_own_tokenizer(tmp_path, shared_data):
    from transformers import CLIPTokenizer

    toys.flux(tmp_path, tokenizer=CLIPTokenizer.from_pretrained(shared_data / "clip_tokenizer"))
    prompts = ["masterpiece, best quality, a girl in the rain"]
    expected = theirs(load(FluxPipeline, tmp_path), prompts=prompts, **SIZE)
    assert_same(drawn(built(tmp_path), prompts=prompts, **SIZE), expected)


def test_its_own_values_are_the_pipelines(folder):
    facts = facts_of(folder)
    found = settled(Flux, facts, num_inference_steps="auto")
    assert {key: found[key] for key in ("height", "num_inference_steps", "guidance_scale", "max_sequence_length")} == {
        **{"height": 1024, "num_inference_steps": 28, "guidance_scale": 3.5, "max_sequence_length": 512}
    }
    changed = settled(Flux, facts, init_image="x.png")
    assert (changed["guidance_scale"], changed["strength"]) == (7.0, 0.6)
    assert not Flux.KEYS & {"clip_skip", "eta", "guidance_rescale", "prompt_syntax", "prompt_3"}


@pytest.mark.parametrize(
    ("sampling", "key", "words"),
    [
        ({"scheduler": {"type": "DEISMultistep"}}, "scheduler.type", "FlowMatchEulerDiscrete"),
        (
            {"scheduler": {"type": "UniPCMultistep"}},
            "scheduler.type",
            "prediction_type: flow_prediction, use_flow_sigmas: true, use_dynamic_shifting: true}",
        ),
        (
            {"scheduler": {"type": "DPMSolverMultistep", **FLOW, "use_dynamic_shifting": False}},
            "scheduler.use_dynamic_shifting",
            "only with use_dynamic_shifting: true",
        ),
        ({"height": 40}, "height", "multiples of 16: write 32"),
        ({"max_sequence_length": 513}, "max_sequence_length", "at most 512"),
    ],
)
def test_what_does_not_fit_is_found_before_drawing(folder, sampling, key, words):
    facts = facts_of(folder)
    (found,) = Flux.problems(facts, settled(Flux, facts, **sampling))
    assert found.key == key
    assert words in found.message


@pytest.mark.parametrize("name", sorted(FLOW_SOLVERS))
def test_from_a_picture_its_own_scheduler_alone_draws(folder, tmp_path, name):
    facts = facts_of(folder)
    picture().save(tmp_path / "picture.png")
    asked = {"scheduler": {"type": name, **FLOW}, "init_image": str(tmp_path / "picture.png"), **SIZE}
    (found,) = Flux.problems(facts, settled(Flux, facts, **asked))
    assert found.key == "scheduler.type"
    assert found.message.endswith("with init_image use FlowMatchEulerDiscrete")


def test_rehearsal(folder):
    facts = facts_of(folder)
    parts = Flux.skeletons(facts)
    assert list(parts) == ["transformer", "text_encoder", "text_encoder_2", "vae"]
    with torch.device("meta"):
        output = Flux.rehearse(parts["transformer"], facts, settled(Flux, facts, height=32, width=64))
    assert tuple(output.shape) == (1, 8, 64)


def test_what_its_longest_reader_loses_is_told(ours):
    long = "zoom " * 40
    (notice,) = ours.notices(ask(ours, prompts=[long], max_sequence_length=64, **SIZE))
    assert notice.startswith("a prompt is longer than 64 tokens and ends unread: 'zoom")
    assert notice.endswith("; max_sequence_length can be up to 512")
    assert ours.notices(ask(ours, prompts=[long], **SIZE)) == []
