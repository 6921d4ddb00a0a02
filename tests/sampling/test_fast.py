"""Drawing with the settings that change a picture's last bits: only where they are asked for, and as they say."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from runner.cli import main
from runner.models import family_class, toys
from runner.models.pixel_unet import PixelUNet

SMALL = "num_inference_steps: 4, height: 32, width: 32"
FAST = ["compute.channels_last=true", "compute.dtype=bf16", "compute.eager_attention=true"]


@pytest.fixture
def write(here):
    """Writes draw.yaml for a saved model and tells where its first run goes."""

    def write(sampling, family="pixel_unet"):
        folder = here / "model"
        family_class(family).toy(folder)
        model = f"model: {{type: pretrained, id: {folder}}}"
        (here / "draw.yaml").write_text(f"version: 1\nname: drawn\nseed: 4\n{model}\nsampling: {{{sampling}}}\n")
        return here / "outputs" / "drawn"

    return write


@pytest.fixture
def calls(monkeypatch):
    """By what is compiled, the batch sizes it is called with: a stand-in for a compiler that takes minutes."""
    made = defaultdict(list)

    def compile(module, **options):
        def called(x, *arguments, **named):
            made[module].append(len(x))
            return module._call_impl(x, *arguments, **named)

        module._compiled_call_impl = called

    monkeypatch.setattr(nn.Module, "compile", compile)
    monkeypatch.setattr("runner.settle.speed.lacking", lambda device: None)
    return made


def drawn(run):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(run.glob("samples/*[0-9].png"))]).astype(int)


@pytest.mark.parametrize("family", ["pixel_unet", "stable_diffusion"])
def test_fast_settings_draw_all_but_the_same_pictures(write, family):
    sampling = "num_images: 2, num_inference_steps: 4" if family == "pixel_unet" else f"prompts: [a, b], {SMALL}"
    runs = write(sampling, family)
    assert main(["run", "draw.yaml"]) == 0
    for settings in (FAST[:1], FAST):
        assert main(["run", "draw.yaml", *settings]) == 0
    plain, laid_out, fast = (drawn(runs / number) for number in ("001", "002", "003"))
    assert np.abs(plain - laid_out).max() <= 2
    assert 0 < np.abs(plain - fast).mean() < 8
    assert main(["run", str(runs / "003")]) == 0
    assert np.array_equal(drawn(runs / "004"), fast)


def test_a_dry_run_names_what_is_on(write, capsys):
    write("num_inference_steps: 2")
    for settings, named in (
        ([], "cpu, fp32"),
        (FAST, "cpu, bf16, channels_last, eager_attention"),
        (["compute.allow_tf32=true"], "cpu, fp32"),  # nothing on a CPU
        (["compute.mixed_precision=bf16"], "cpu, fp32"),  # a training's
    ):
        assert main(["run", "draw.yaml", "--dry-run", *settings]) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["device"]]
        assert " ".join(line.split()[1:]) == named


def test_channels_lie_side_by_side_only_where_asked_for(write, monkeypatch):
    laid_out = []
    predict = PixelUNet.predict

    def watched(self, *arguments):
        laid_out.append(self.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last))
        return predict(self, *arguments)

    monkeypatch.setattr(PixelUNet, "predict", watched)
    write("num_inference_steps: 2")
    assert main(["run", "draw.yaml"]) == 0
    assert main(["run", "draw.yaml", FAST[0]]) == 0
    assert laid_out == [False, False, True, True]


def test_whole_batches_are_drawn_by_compiled_code(write, calls):
    """Two, two and one: code for the last one would cost more than it saves."""
    runs = write("num_images: 5, batch_size: 2, num_inference_steps: 3")
    assert main(["run", "draw.yaml"]) == 0
    assert not calls
    assert main(["run", "draw.yaml", "compute.compile=true"]) == 0
    assert calls and all(sizes == [2] * 6 for sizes in calls.values())
    assert np.array_equal(drawn(runs / "001"), drawn(runs / "002"))


def test_base_and_refiner_are_compiled_each(here, calls):
    toys.stable_diffusion_xl(here / "base")
    toys.sdxl_refiner(here / "refiner")
    sampling = f"prompts: [a], num_inference_steps: 5, height: 32, width: 32, refiner: {{id: {here / 'refiner'}}}"
    (here / "draw.yaml").write_text(
        f"version: 1\nname: drawn\nmodel: {{type: pretrained, id: {here / 'base'}}}\nsampling: {{{sampling}}}\n"
    )
    assert main(["run", "draw.yaml", "compute.compile=true"]) == 0
    assert {len(sizes) for sizes in calls.values()} == {4, 1}  # steps of the base and of the refiner
    assert {size for sizes in calls.values() for size in sizes} == {2}  # with and without the prompt


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_what_was_trained_is_drawn_in_the_trainings_number_format(here, monkeypatch, precision, dtype):
    seen = []
    predict = PixelUNet.predict

    def watched(self, *arguments):
        output = predict(self, *arguments)
        seen.append((torch.is_grad_enabled(), output.dtype))
        return output

    monkeypatch.setattr(PixelUNet, "predict", watched)
    (here / "train.yaml").write_text(
        "version: 1\nname: trained\ndata: {type: builtin, num_images: 4, resolution: 16}\n"
        "model: {type: pixel_unet, block_out_channels: [16, 16], layers_per_block: 1, norm_num_groups: 8}\n"
        "scheduler: {type: DDPM}\ntraining: {max_train_steps: 1, batch_size: 2, learning_rate: 1e-3, sample_steps: 1}\n"
        "sampling: {num_images: 1, num_inference_steps: 2}\n"
    )
    assert main(["run", "train.yaml", f"compute.mixed_precision={precision}"]) == 0
    assert seen == [(True, dtype)] + [(False, dtype)] * 4  # a step, its grid and the picture
