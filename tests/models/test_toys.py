"""Toy models: the same files from the same seed, small, quick, and in layouts that plain diffusers reads."""

import hashlib

import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from safetensors.torch import load_file

from runner.models import family_class, toy_parts, toys
from runner.models.index import family_of
from tests.models.drawing import built, drawn, facts_of, files_of, picture

FAMILIES = ["stable_diffusion", "stable_diffusion_xl", "sdxl_refiner", "stable_diffusion_3", "flux"]


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_familys_own_toy(tmp_path, family):
    state = torch.random.get_rng_state()
    family_class(family).toy(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 3_000_000
    assert family_of(files_of(tmp_path), "auto") == family
    assert isinstance(DiffusionPipeline.from_pretrained(tmp_path), tuple(family_class(family).PIPELINES.values()))
    image = {"image": picture(), "num_inference_steps": 10} if family == "sdxl_refiner" else {}
    (image,) = drawn(built(tmp_path), prompts=["a cat"], height=64, width=64, **image)
    assert image.size == (64, 64)


def test_the_seed_decides_the_files(tmp_path):
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        toys.stable_diffusion(tmp_path / name, seed=seed)
    one, again, other = (digests(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    weights = [name for name in one if name.suffix == ".safetensors"]
    assert len(weights) == 3
    assert all(one[name] != other[name] for name in weights)


def test_a_word_is_one_token_or_one_a_character():
    tokenizer = toy_parts.clip_tokenizer()
    assert tokenizer.model_max_length == 77
    tokens = tokenizer.tokenize("A red flower, 日")
    assert tokens[:4] == ["a</w>", "red</w>", "flower</w>", ",</w>"]
    assert len(tokenizer.tokenize("zoom")) == 4
    assert tokenizer.unk_token_id not in tokenizer("日 é ~ €", add_special_tokens=False).input_ids
    assert tokenizer.decode(tokenizer("a red house", add_special_tokens=False).input_ids) == "a red house"


def test_t5s_tokens():
    tokenizer = toy_parts.t5_tokenizer()
    assert tokenizer.tokenize("a red zoom")[:2] == ["▁a", "▁red"]
    assert tokenizer("a").input_ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(("threshold", "found"), [(2.0, False), (-2.0, True)])
def test_a_safety_checker_of_either_mind(tmp_path, threshold, found):
    toys.stable_diffusion(tmp_path, safety_checker=threshold)
    pipeline = DiffusionPipeline.from_pretrained(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a cat", num_inference_steps=1).nsfw_content_detected == [found]


def test_a_toy_vae_lora_and_embedding(tmp_path):
    toys.vae(tmp_path / "vae")
    assert AutoencoderKL.from_pretrained(tmp_path / "vae").config["latent_channels"] == 4
    toys.stable_diffusion(tmp_path / "sd")
    toys.lora(tmp_path / "lora.safetensors", tmp_path / "sd", rank=3)
    tensors = load_file(tmp_path / "lora.safetensors")
    assert {key.partition(".")[0] for key in tensors} == {"unet", "text_encoder"}
    assert all(3 in tensor.shape and tensor.abs().max() > 0 for tensor in tensors.values())
    toys.embedding(tmp_path / "words.safetensors", family="stable_diffusion_xl", vectors=5)
    shapes = {key: tuple(tensor.shape) for key, tensor in load_file(tmp_path / "words.safetensors").items()}
    assert shapes == {"clip_l": (5, 32), "clip_g": (5, 48)}


def test_an_inpainting_toy_and_one_with_velocity(tmp_path):
    toys.stable_diffusion(tmp_path / "nine", in_channels=9)
    assert facts_of(tmp_path / "nine").configs["unet"]["in_channels"] == 9
    toys.stable_diffusion(tmp_path / "v", prediction_type="v_prediction")
    assert facts_of(tmp_path / "v").configs["scheduler"]["prediction_type"] == "v_prediction"
