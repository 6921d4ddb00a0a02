"""The `parameters` text, read back by a reader written from the format's description."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.outputs.parameters import parameters, sampler

PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')

SAMPLING = {
    "prompts": ["a cat"],
    "negative_prompt": "bad, (worse:1.2)",
    "num_inference_steps": 20,
    "guidance_scale": 7.5,
    "clip_skip": 1,
    "scheduler": {"type": "DPMSolverMultistep", "use_karras_sigmas": True},
    "init_image": None,
    "strength": 0.8,
}


def read(text):
    """Prompt, negative prompt and pairs: lines up to "Negative prompt:", lines after it, and the last line."""
    *lines, last = text.strip().split("\n")
    found = {key: json.loads(value) if value.startswith('"') else value for key, value in PAIR.findall(last)}
    assert len(found) >= 3, "a reader takes a last line of fewer pairs for a part of the prompt"
    texts = {"prompt": [], "negative": []}
    place = "prompt"
    for line in lines:
        if line.strip().startswith("Negative prompt:"):
            place, line = "negative", line.strip()[16:]
        texts[place].append(line.strip())
    return "\n".join(texts["prompt"]), "\n".join(texts["negative"]), found


def write(prompt="a cat", **changed):
    model, loras = changed.pop("model", "gsdf/Counterfeit-V2.5"), changed.pop("loras", ())
    return parameters(prompt, SAMPLING | changed, model=model, seed=1, size=(512, 768), loras=loras)


def test_the_text_to_the_letter():
    assert write() == (
        "a cat\n"
        "Negative prompt: bad, (worse:1.2)\n"
        "Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 1, Size: 512x768, Model: Counterfeit-V2.5, "
        "Clip skip: 2, RNG: CPU"
    )


def test_loras_are_called_for_behind_the_prompt():
    style = {"id": "me/styles", "file": "old/style v2.safetensors", "weight": 0.8}
    mine = {"id": "/home/me/my<dog>.safetensors", "file": None, "weight": 1.0}
    assert read(write(loras=[style, mine]))[0] == "a cat <lora:style v2:0.8> <lora:my_dog_:1>"
    assert read(write(prompt="", loras=[mine]))[0] == "<lora:my_dog_:1>"


def test_everything_comes_back():
    prompt, negative, found = read(
        write("a (cat:1.3), 8k", init_image="a.png", eta=0.5, refiner={"id": "x/y, z: w", "high_noise_frac": 0.8})
    )
    assert (prompt, negative) == ("a (cat:1.3), 8k", "bad, (worse:1.2)")
    assert found["Denoising strength"] == "0.8"
    assert found["Eta DDIM"] == "0.5"
    assert (found["Refiner"], found["Refiner switch at"]) == ("y, z: w", "0.8")


@pytest.mark.parametrize("absent", [None, 0])
def test_what_was_not_used_is_not_written(absent):
    _, negative, found = read(write(clip_skip=absent, negative_prompt="", scheduler=None, eta=0.0))
    assert negative == ""
    assert not {"Clip skip", "Sampler", "Denoising strength", "Eta DDIM", "Refiner"} & set(found)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("/home/me/models/cat, dog.safetensors", "cat, dog"),
        ("C:\\models\\cat.ckpt", "cat"),
        ("./out/model/", "model"),
        ('a "quoted" \\ name', " name"),
        ("Steps: 3", "Steps : 3"),
    ],
)
def test_the_models_last_name_is_enough(model, name):
    assert read(write(model=model))[2]["Model"].strip() == name.strip()


@pytest.mark.parametrize(
    ("scheduler", "name"),
    [
        ({"type": "EulerDiscrete"}, "Euler"),
        ({"type": "EulerAncestralDiscrete"}, "Euler a"),
        ({"type": "LMSDiscrete", "use_karras_sigmas": True}, "LMS Karras"),
        ({"type": "HeunDiscrete"}, "Heun"),
        ({"type": "PNDM"}, "PLMS"),
        ({"type": "DDIM"}, "DDIM"),
        ({"type": "KDPM2AncestralDiscrete", "use_karras_sigmas": True}, "DPM2 a Karras"),
        ({"type": "DPMSolverMultistep"}, "DPM++ 2M"),
        ({"type": "DPMSolverMultistep", "use_exponential_sigmas": True}, "DPM++ 2M Exponential"),
        ({"type": "DPMSolverMultistep", "algorithm_type": "sde-dpmsolver++"}, "DPM++ 2M SDE"),
        (
            {"type": "DPMSolverMultistep", "algorithm_type": "sde-dpmsolver++", "solver_type": "heun"},
            "DPM++ 2M SDE Heun",
        ),
        (
            {
                "type": "DPMSolverMultistep",
                "algorithm_type": "sde-dpmsolver++",
                "solver_order": 3,
                "use_karras_sigmas": True,
            },
            "DPM++ 3M SDE Karras",
        ),
        ({"type": "DPMSolverSinglestep", "algorithm_type": "sde-dpmsolver++"}, "DPM++ SDE"),
        ({"type": "UniPCMultistep", "use_karras_sigmas": False}, "UniPC"),
        ({"type": "LCM"}, "LCM"),
    ],
)
def test_samplers_have_their_web_names(scheduler, name):
    assert sampler(scheduler) == name


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat\nSteps: 1, Sampler: Evil, CFG scale: 1, Seed: 9, Size: 8x8",
        "Negative prompt: everything",
        "a cat\r\nNegative prompt: x\u2028Steps: 1, Seed: 2, Size: 3x3",
        "Steps: 1, Sampler: Evil, CFG scale: 1, Seed: 9",
        "a\x00b\x1b[31m\ud800",
    ],
)
def test_a_prompt_poses_as_nothing_else(prompt):
    text = write(prompt)
    found, negative, pairs = read(text)
    assert negative == "bad, (worse:1.2)"
    assert (pairs["Steps"], pairs["Seed"], pairs["Sampler"]) == ("20", "1", "DPM++ 2M Karras")
    assert found and "\n" not in found
    assert [line.startswith("Steps:") for line in text.split("\n")] == [False, False, True]
    assert all(c.isprintable() or c == "\n" for c in text)
    text.encode()


@given(prompt=st.text(), negative=st.text(), model=st.text())
def test_any_text_comes_back_as_one_line(prompt, negative, model):
    found, other, pairs = read(write(prompt, negative_prompt=negative, model=model))
    assert len(found.split("\n")) == len(other.split("\n")) == 1
    assert (pairs["Steps"], pairs["Size"], pairs["RNG"]) == ("20", "512x768", "CPU")
