"""sample.yaml: a recipe that holds, and draws with what was learned."""

import pytest
import yaml

from runner.outputs.sample_recipe import sample_recipe

BASE = {
    "version": 1,
    "name": "rose",
    "seed": 3,
    "data": {"type": "folder", "instance_prompt": "a photo of sks rose", "caption_templates": None, "trigger": None},
    "model": {"type": "pretrained", "id": "/models/sd", "revision": None, "family": "stable_diffusion", "loras": []},
    "training": {"validation_prompts": None},
    "compute": {"dtype": "fp32"},
}
SAMPLING = {"prompts": ["a rose"], "num_images": 2, "seed": 3, "seeds": None, "noise_preview": [1, 2]}


def made(learned="model", **changes):
    text = sample_recipe({**BASE, **changes}, learned, "outputs/rose/001")
    assert text.startswith("# Draws with what this run has learned: recipe run outputs/rose/001/sample.yaml\n")
    return yaml.safe_load(text)


def test_a_whole_model_is_named_by_its_folder():
    found = made(sampling=SAMPLING)
    assert found["model"] == {"type": "pretrained", "id": "./model"}
    assert found["sampling"] == {"prompts": ["a rose"], "num_images": 2, "seed": 3}
    assert found["name"] == "rose-sample" and found["seed"] == 3


@pytest.mark.parametrize(
    ("adapter", "learned", "laid"),
    [
        ({"type": "lora"}, "model/l.safetensors", {"loras": [{"id": "./model/l.safetensors"}]}),
        (
            {"type": "textual_inversion", "token": "<rose>"},
            "model/e.safetensors",
            {"embeddings": [{"id": "./model/e.safetensors", "token": "<rose>"}]},
        ),
    ],
)
def test_an_adapter_is_laid_over_its_base(adapter, learned, laid):
    found = made(learned, adapter=adapter, sampling=SAMPLING)
    assert found["model"] == {"type": "pretrained", "id": "/models/sd", "family": "stable_diffusion", **laid}


def test_without_a_sampling_section_it_draws_what_was_learned():
    assert made()["sampling"] == {"prompts": ["a photo of sks rose"]}
    assert made(training={"validation_prompts": ["two roses"]})["sampling"] == {"prompts": ["two roses"]}


def test_a_schedule_that_the_base_does_not_know_goes_with_the_adapter():
    scheduler = {"type": "DDPM", "prediction_type": "v_prediction"}
    found = made("model/l.safetensors", adapter={"type": "lora"}, scheduler=scheduler, sampling=SAMPLING)
    assert found["sampling"]["scheduler"] == scheduler
    assert "scheduler" not in made(scheduler=scheduler, sampling=SAMPLING)["sampling"]


def test_an_adapter_is_drawn_in_the_number_format_of_its_base():
    half = {"compute": {"dtype": "bf16"}, "sampling": SAMPLING}
    assert made("model/l.safetensors", adapter={"type": "lora"}, **half)["compute"] == {"dtype": "bf16"}
    assert "compute" not in made(**half) and "compute" not in made(sampling=SAMPLING)
