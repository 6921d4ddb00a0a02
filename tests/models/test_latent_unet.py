"""The latent model from random weights: what a recipe builds around a VAE, learns and saves."""

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from safetensors.torch import load_file

from runner.models import toy_parts
from runner.models.counting import parameters
from runner.models.family import Request
from runner.models.files import open_files
from runner.models.latent_unet import LatentUNet
from runner.models.parts import find_part
from runner.models.stable_diffusion import StableDiffusion
from runner.progress import create
from tests.conftest import defaults

CAPTIONS = ("a red tulip under a blue sky", "a red rose by the sea", "an orange lily at dawn")
NOISE = defaults("scheduler/noise.json", type="DDPM", prediction_type="v_prediction")
MODEL = {
    **{"block_out_channels": [16, 32], "layers_per_block": 1, "attention_head_dim": 4, "norm_num_groups": 8},
    **{"down_block_types": None, "up_block_types": None, "vocab_size": 600, "hidden_size": 32},
    **{"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 16},
}
SAMPLING = {"num_inference_steps": 3, "guidance_scale": 3.0, "height": 64, "width": 64, "prompt_syntax": "plain"}
SAMPLING |= {"negative_prompt": "", "scheduler": None, "eta": 0.0, "guidance_rescale": 0.0, "clip_skip": None}


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    """The folder of a VAE of eight pixels a latent."""
    folder = tmp_path_factory.mktemp("vae")
    toy_parts.vae(7).save_pretrained(folder)
    return folder


def facts(vae, **model):
    section = {**MODEL, **model}
    section |= LatentUNet.block_types(section)
    files = open_files(str(vae), base=vae, key="model.vae.id")
    part, config = find_part(files, "vae", "AutoencoderKL", variant=None, allow_pickle=False, folder="")
    return LatentUNet.from_recipe(section, NOISE, 64, part, config)


def build(vae, seed=0, captions=CAPTIONS, **model):
    from dataclasses import replace

    compute = {"dtype": "fp32", "attention_slicing": False, "vae_slicing": False, "vae_tiling": False}
    return LatentUNet.build(
        replace(facts(vae, **model), texts=captions),
        device=torch.device("cpu"),
        seed=seed,
        compute={**compute, "offload": "none"},
        progress=create(quiet=True),
    )


def drawn(family, prompt="a red rose"):
    asked = Request(SAMPLING, prompts=(prompt,))
    return np.asarray(family.draw(asked, [torch.Generator().manual_seed(5)], lambda: None).images[0])


def test_text_is_read_below_the_first_level():
    def types(channels, **model):
        return LatentUNet.block_types({**MODEL, "block_out_channels": channels, **model})

    assert types([8, 8, 8])["down_block_types"] == ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"]
    assert types([8, 8, 8])["up_block_types"] == ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]
    assert types([8])["down_block_types"] == ["CrossAttnDownBlock2D"]
    given = ["CrossAttnDownBlock2D", "DownBlock2D"]
    assert types([8, 8], down_block_types=given)["up_block_types"] == ["UpBlock2D", "CrossAttnUpBlock2D"]


def test_all_but_the_vae_follows_from_the_seed(vae):
    first, again, other = build(vae, 1), build(vae, 1), build(vae, 2)
    for name in ("unet", "text_encoder"):
        one, same, another = (f.parts[name].state_dict() for f in (first, again, other))
        assert all(torch.equal(one[key], same[key]) for key in one)
        assert not all(torch.equal(one[key], another[key]) for key in one)
    weights = load_file(vae / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(first.parts["vae"].state_dict()[key], weights[key]) for key in weights)
    assert LatentUNet.FROZEN == ("vae",)


def test_the_parts_fit_each_other(vae):
    family = build(vae)
    assert family.shape(64, 64) == (4, 8, 8)
    assert LatentUNet.sample_size(family.facts) == (64, 64)
    assert family.embed(["a red rose", ""])["encoder_hidden_states"].shape == (2, 16, 32)
    assert family.tokenizer("text_encoder").tokenize("a red rose") == ["a</w>", "red</w>", "rose</w>"]
    assert family.schedule.prediction_type == "v_prediction"


def test_it_is_counted_without_weights(vae):
    family = build(vae)
    skeletons = LatentUNet.skeletons(family.facts)
    assert next(iter(skeletons)) == "unet"
    for name, part in family.parts.items():
        assert parameters(skeletons[name]) == parameters(part)
    assert LatentUNet.rehearse(skeletons["unet"], family.facts, SAMPLING).shape == (2, 4, 8, 8)


def test_settled_sampling_suits_it(vae):
    asked = {**SAMPLING, "prompts": ["a red rose"], "num_inference_steps": "auto", "height": "auto", "width": "auto"}
    found = LatentUNet.defaults(facts(vae), asked)
    assert found == {"num_inference_steps": 50, "height": 64, "width": 64}
    assert not list(LatentUNet.problems(facts(vae), {**asked, **found}))


def test_it_is_saved_as_a_stable_diffusion_pipeline_that_draws_the_same(vae, tmp_path):
    family = build(vae)
    family.save(tmp_path / "model")
    plain = StableDiffusionPipeline.from_pretrained(tmp_path / "model")
    assert isinstance(DiffusionPipeline.from_pretrained(tmp_path / "model"), StableDiffusionPipeline)
    assert plain.scheduler.config.clip_sample is False
    assert plain.scheduler.config.prediction_type == "v_prediction"
    plain.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(5)
    image = plain(
        "a red rose", height=64, width=64, num_inference_steps=3, guidance_scale=3.0, generator=generator
    ).images[0]
    assert np.array_equal(drawn(family), np.asarray(image))
    files = open_files(str(tmp_path / "model"), base=tmp_path, key="model.id")
    again = StableDiffusion.inspect(files, variant=None, allow_pickle=False)
    assert again.configs["text_encoder"]["vocab_size"] == 600


def test_a_caption_changes_what_is_drawn(vae):
    family = build(vae)
    assert not np.array_equal(drawn(family, "a red rose"), drawn(family, "an orange lily"))


def test_it_learns_from_captions(vae):
    """Gradients reach the UNet and the text encoder through the doors that the objective uses."""
    family = build(vae)
    t = torch.tensor([10, 900])
    output = family.predict(torch.randn(2, 4, 8, 8), t, family.embed(CAPTIONS[:2]))
    output.square().mean().backward()
    assert family.parts["text_encoder"].get_input_embeddings().weight.grad.abs().sum() > 0
    assert family.parts["unet"].conv_in.weight.grad.abs().sum() > 0
