"""The model's own words are those of transformers' own generate call."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor, BlipForConditionalGeneration, BlipProcessor

from runner.captioning import inspect
from runner.captioning.captioner import ASKED, Captioner
from runner.captioning.words import tidy
from runner.errors import EnvironmentFault, ModelError, Refused
from tests.captioning.conftest import CPU, Remembers, files_of, noise

IMAGES = [noise(seed, (20 + seed, 30)) for seed in range(4)]


def captioner(folder, prompt=None, allow_pickle=False):
    facts = inspect(files_of(folder), allow_pickle=allow_pickle)
    asked = {"prompt": prompt, "batch_size": 4, "max_new_tokens": 8}
    return Captioner(facts, asked, **CPU, progress=Remembers())


@pytest.mark.parametrize("prompt", [None, "a photo of"])
def test_blip_says_what_its_own_generate_says(blip, prompt):
    processor, model = BlipProcessor.from_pretrained(blip), BlipForConditionalGeneration.from_pretrained(blip)
    expected = []
    for image in IMAGES:
        inputs = processor(images=image, text=prompt, return_tensors="pt")
        ids = model.generate(**inputs, max_new_tokens=8, num_beams=1, do_sample=False)
        expected.append(tidy(processor.decode(ids[0], skip_special_tokens=True)))
    found = captioner(blip, prompt)(IMAGES)
    assert found == expected
    assert len(set(found)) > 1
    assert prompt is None or all(text.startswith(prompt) for text in found)


@pytest.mark.parametrize("prompt", [None, "a photo of"])
def test_git_says_what_its_own_generate_says(git, prompt):
    processor, model = AutoProcessor.from_pretrained(git), AutoModelForImageTextToText.from_pretrained(git)
    expected = []
    for image in IMAGES:
        pixels = processor(images=image, return_tensors="pt").pixel_values
        ids = processor.tokenizer(prompt, add_special_tokens=False).input_ids if prompt else []
        begin = torch.tensor([[processor.tokenizer.cls_token_id, *ids]])  # as its documentation asks questions
        found = model.generate(pixel_values=pixels, input_ids=begin, max_new_tokens=8, num_beams=1, do_sample=False)
        expected.append(tidy(processor.decode(found[0], skip_special_tokens=True)))
    assert captioner(git, prompt)(IMAGES) == expected
    assert any(expected)
    assert prompt is None or all(text.startswith(prompt) for text in expected)


@pytest.mark.parametrize("prompt", [None, "a red flower"])
def test_a_chat_model_says_what_its_own_generate_says(llava, prompt):
    processor, model = AutoProcessor.from_pretrained(llava), AutoModelForImageTextToText.from_pretrained(llava)
    expected = []
    for image in IMAGES:
        said = f"user : <image> {prompt or ASKED} assistant :"
        inputs = processor(images=image, text=said, return_tensors="pt")
        ids = model.generate(**inputs, max_new_tokens=8, num_beams=1, do_sample=False)
        expected.append(tidy(processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)))
    found = captioner(llava, prompt)(IMAGES)
    assert found == expected
    assert len(set(found)) > 1


def test_allowed_pickles_give_the_same_words_and_foreign_objects_none(blip, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(blip, folder)
    (folder / "model.safetensors").unlink()
    torch.save(load_file(blip / "model.safetensors"), folder / "pytorch_model.bin")
    assert captioner(folder, allow_pickle=True)(IMAGES) == captioner(blip)(IMAGES)
    torch.save({"weight": Captioner}, folder / "pytorch_model.bin")
    with (folder / "pytorch_model.bin").open("ab") as file:
        file.write(bytes(200_000))  # as many bytes as the configuration asks for
    with pytest.raises((Refused, ModelError), match=r"take a model with \.safetensors|cannot be loaded"):
        captioner(folder, allow_pickle=True)


@pytest.mark.parametrize("spoil", ["lack", "NaN"])
def test_weights_that_do_not_fit_are_told(blip, tmp_path, spoil):
    folder = tmp_path / "spoilt"
    shutil.copytree(blip, folder)
    weights = load_file(folder / "model.safetensors")
    name = "vision_model.encoder.layers.0.mlp.fc1.weight"
    if spoil == "lack":
        weights["padding"] = weights.pop(name)
    else:
        weights[name][0, 0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"{spoil} .*{name}"):
        captioner(folder)


def test_a_model_that_fails_is_one_sentence(blip):
    with pytest.raises(ModelError, match=r"cannot be used \(.*\): correct data\.caption\.prompt or choose another"):
        captioner(blip, "a " * 200)(IMAGES)  # more than its positions


def test_out_of_memory_names_the_key(blip, monkeypatch):
    ours = captioner(blip)

    def full(**_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(ours.model, "generate", full)
    with pytest.raises(EnvironmentFault, match=r"out of memory.*data\.caption\.batch_size=2"):
        ours(IMAGES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  two\ncats\t on a  couch ", "two cats on a couch"),
        ("a red\x00 rose\u202e\x1b[31m", "a red rose [31m"),
        ("a a a a red rose", "a red rose"),
        ("a rose in a vase in a vase in a vase", "a rose in a vase"),
        ("very, very good and very very red", "very, very good and very very red"),
        ("half a \ufffd", "half a"),
        ("\u00a0\u200b\n", ""),
        ("eine Gänseblume 花 👩‍🌾", "eine Gänseblume 花 👩‍🌾"),
    ],
)
def test_a_caption_is_one_tidy_line(text, expected):
    assert tidy(text) == expected
