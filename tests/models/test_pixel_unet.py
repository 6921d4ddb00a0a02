"""The pixel UNet: what a recipe builds, what is saved, and what diffusers makes of it."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, DiffusionPipeline, UNet2DModel
from safetensors.torch import load_file, save_file

from runner.errors import ModelError
from runner.models.counting import drawing, learning, parameters
from runner.models.family import Request
from runner.models.files import open_files
from runner.models.pixel_unet import PixelUNet
from runner.progress import create
from tests.conftest import defaults

SMALL = {"block_out_channels": [16, 32], "layers_per_block": 1, "norm_num_groups": 8}
BUTTERFLY = {
    "block_out_channels": [128, 128, 256, 256, 512, 512],
    "down_block_types": ["DownBlock2D"] * 4 + ["AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D"] + ["UpBlock2D"] * 4,
}
NOISE = defaults("scheduler/noise.json")


def facts(classes=(), resolution=16, **model):
    section = defaults("model/pixel_unet.json", type="pixel_unet", **model)
    section["num_class_embeds"] = len(classes) or None
    section |= PixelUNet.block_types(section)
    return PixelUNet.from_recipe(section, NOISE, resolution, list(classes))


def built(facts, seed=0):
    options = {"compute": {"dtype": "fp32"}, "progress": create(quiet=True)}
    return PixelUNet.build(facts, device=torch.device("cpu"), seed=seed, **options)


def build(**options):
    return built(facts(**{**SMALL, **options}), seed=3)


def inspect(folder):
    files = open_files(str(folder), base=folder, key="model.id")
    return PixelUNet.inspect(files, variant=None, allow_pickle=False)


def draw(family, seed=1):
    sampling = {"num_inference_steps": 3, "guidance_scale": 1.0, "eta": 0.0, "trajectory": 0}
    asked = Request(sampling, labels=[0] if family.facts.classes else None)
    return np.asarray(family.draw(asked, [torch.Generator().manual_seed(seed)], lambda: None).images[0])


def test_the_butterfly_unet_has_the_lessons_parameters():
    skeleton = PixelUNet.skeletons(facts(resolution=128, **BUTTERFLY))["unet"]
    assert parameters(skeleton) == 113_673_219


def test_the_lessons_first_unet():
    """dim 64, mults (1, 2, 4, 8): attention in the lowest level and the middle."""
    config = facts(resolution=128, block_out_channels=[64, 128, 256, 512]).configs["unet"]
    assert config["down_block_types"] == ["DownBlock2D"] * 3 + ["AttnDownBlock2D"]
    assert config["up_block_types"] == ["AttnUpBlock2D"] + ["UpBlock2D"] * 3


@pytest.mark.parametrize("down", ["DownBlock2D", "ResnetDownsampleBlock2D", "AttnDownBlock2D"])
def test_every_block_type_builds_and_runs(down):
    family = build(down_block_types=[down, down])
    assert draw(family).shape == (16, 16, 3)


@pytest.mark.parametrize(
    "options",
    [
        {"downsample_type": "resnet", "upsample_type": "resnet"},
        {"resnet_time_scale_shift": "scale_shift", "act_fn": "mish"},
        {"attention_head_dim": None, "add_attention": False, "dropout": 0.1},
        {"time_embedding_dim": 24, "freq_shift": 1, "flip_sin_to_cos": False, "downsample_padding": 0},
        {"attn_norm_num_groups": 4, "mid_block_scale_factor": 1.4142},
    ],
)
def test_options_build_and_run(options):
    assert draw(build(**options)).shape == (16, 16, 3)


def test_the_seed_decides_the_weights_and_leaves_torchs_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = build(), build()
    assert torch.equal(torch.random.get_rng_state(), before)
    for a, b in zip(first.unet.parameters(), second.unet.parameters()):
        assert torch.equal(a, b)


def test_a_saved_model_loads_in_plain_diffusers_and_draws_the_same(tmp_path):
    family = build()
    family.save(tmp_path)
    pipeline = DiffusionPipeline.from_pretrained(tmp_path)
    assert isinstance(pipeline, DDPMPipeline)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(generator=torch.Generator().manual_seed(1), num_inference_steps=3).images[0]
    assert np.array_equal(draw(family), np.asarray(theirs))


def test_a_saved_model_with_classes_loads_by_its_parts_and_by_us(tmp_path):
    family = build(classes=("rose", "tulip"))
    family.save(tmp_path)
    assert UNet2DModel.from_pretrained(tmp_path / "unet").config["num_class_embeds"] == 3
    assert isinstance(DDPMScheduler.from_pretrained(tmp_path / "scheduler"), DDPMScheduler)
    inspected = inspect(tmp_path)
    assert inspected.classes == ["rose", "tulip"]
    again = built(inspected)
    assert np.array_equal(draw(family), draw(again))


def test_counting_sees_checkpointing_and_real_parameters():
    small = facts(**SMALL)
    unets = [PixelUNet.skeletons(small)["unet"] for _ in range(2)]
    forwards = [partial(PixelUNet.rehearse, unet, small, None) for unet in unets]
    plain, checkpointed = (learning(u, f, checkpointed=c) for u, f, c in zip(unets, forwards, (False, True)))
    assert parameters(unets[0]) == parameters(build().unet)
    assert checkpointed.activations < plain.activations * 2 / 3
    assert plain.flops == checkpointed.flops > 0


def test_drawing_keeps_less_than_learning_and_does_the_same_work():
    small = facts(**SMALL)
    unet = PixelUNet.skeletons(small)["unet"]
    forward = partial(PixelUNet.rehearse, unet, small, None)
    assert 0 < drawing(forward).activations < learning(unet, forward, checkpointed=False).activations
    assert drawing(forward).flops == learning(unet, forward, checkpointed=False).flops


def damage(folder, change):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("conv_in.weight"), r"lack conv_in\.weight"),
        (lambda t: t.update(extra=torch.zeros(2)), "surplus of extra"),
        (lambda t: t.update({"conv_in.bias": torch.zeros(9)}), "conv_in.bias should be 16 and is 9"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, words):
    build().save(tmp_path)
    damage(tmp_path, change)
    with pytest.raises(ModelError, match=words):
        built(inspect(tmp_path))


def test_a_cut_file_and_a_wrong_class_are_named(tmp_path):
    build().save(tmp_path)
    path = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ModelError, match="cut short"):
        inspect(tmp_path)
    path.write_bytes(whole)
    config = tmp_path / "unet" / "config.json"
    config.write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    with pytest.raises(ModelError, match="UNet2DConditionModel"):
        inspect(tmp_path)
    for values in ({"block_out_channels": "wide"}, {"down_block_types": ["os"]}):
        broken = {"_class_name": "UNet2DModel", **values}
        config.write_text(json.dumps(broken))
        with pytest.raises(ModelError, match="configuration builds no"):
            inspect(tmp_path)
    config.unlink()
    with pytest.raises(ModelError, match="missing"):
        inspect(tmp_path)


@pytest.mark.parametrize("name", ["DiffusionPipeline", "UNet2DModel", "os", "CogVideoXDPMScheduler"])
def test_a_scheduler_outside_the_list_is_not_built(tmp_path, name):
    build().save(tmp_path)
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps({"_class_name": name}))
    with pytest.raises(ModelError, match=f"is of class {name}"):
        inspect(tmp_path)


@pytest.mark.parametrize("text", ["[1, 2]", "{}", '["rose"', "\xff"])
def test_broken_class_names_are_named(tmp_path, text):
    build().save(tmp_path)
    (tmp_path / "labels.json").write_text(text, "latin-1")
    with pytest.raises(ModelError, match=r"labels\.json"):
        inspect(tmp_path)
