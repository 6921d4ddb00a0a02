"""Training on a GPU: the losses of a CPU, every number format, compiled code, and going on."""

import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel

from runner.models.fast import lacking
from runner.training.dropout import seed_dropout
from tests.faults.runs import stopped_after
from tests.gpu.runs import DEVICE, losses, pixels, run, state, tuned

FAST = {"allow_tf32": "auto", "channels_last": True, "compile": False}
STEPS = {"max_train_steps": 6, "checkpointing_steps": None, "ema": {"decay": 0.9}}


@pytest.mark.parametrize("classes", [None, "auto"])
def test_losses_are_those_of_a_cpu(here, classes):
    asked = pixels(model={"num_class_embeds": classes}, training={**STEPS, "label_dropout_rate": 0.3})
    on_gpu, on_cpu = (losses(run(asked, f"compute.device={device}", "--fresh")) for device in (DEVICE, "cpu"))
    assert on_gpu == pytest.approx(on_cpu, rel=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_sixteen_bits_learn_the_same(here, precision):
    """By all that the GPU is given by itself; fp16's scaler lets go of a first step whose gradients are too large."""
    exact = losses(run(pixels(training=STEPS), "--fresh"))
    sampling = {"num_images": 2, "num_inference_steps": 2}
    asked = pixels(training=STEPS, compute={**FAST, "mixed_precision": precision}, sampling=sampling)
    folder = run(asked, "--fresh")
    assert losses(folder)[0] == pytest.approx(exact[0], rel=0.02)
    assert losses(folder)[-1] < 1.1 * max(exact)
    assert (state(folder)[1]["scaler"] is not None) == (precision == "fp16")
    assert all(np.asarray(Image.open(folder / "samples" / f"0000{i}.png")).std() > 5 for i in range(2))


def test_compiled_code_learns_the_same(here):
    if lack := lacking(DEVICE):
        pytest.skip(f"compiling needs {lack}")
    few = {"max_train_steps": 3, "ema": {"decay": 0.9}}
    tiny = {
        "block_out_channels": [8],
        "down_block_types": ["DownBlock2D"],
        "norm_num_groups": 4,
        "add_attention": False,
    }
    eager = run(pixels(model=tiny, training=few), "--fresh")
    fast = run(pixels(model=tiny, training=few, compute={"compile": True, "channels_last": True}), "--fresh")
    assert losses(fast) == pytest.approx(losses(eager), rel=5e-3)


LORA = {"type": "lora", "rank": 2, "dropout": 0.1, "parts": ["unet", "text_encoder"]}
DROPOUT = {"dropout": 0.2}
WORK = {
    "pixels": lambda toy: pixels(model=DROPOUT, training=STEPS),
    "pixels-fp16": lambda toy: pixels(model=DROPOUT, training=STEPS, compute={**FAST, "mixed_precision": "fp16"}),
    "lora-bf16": lambda toy: tuned(toy("stable_diffusion"), precision="bf16", training=STEPS, adapter=LORA),
    "lora-fp16": lambda toy: tuned(toy("stable_diffusion"), precision="fp16", training=STEPS, adapter=LORA),
}


@pytest.fixture
def repeatable():
    """A GPU adds in whatever order is fast. Asked to keep to one, as no run asks it, it repeats every bit."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    with sdpa_kernel(SDPBackend.MATH):
        yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("name", WORK)
def test_a_stopped_run_goes_on_bitwise(here, toy, repeatable, name):
    """Weights, average, optimizer and gradient scaler, and what dropout draws from."""
    asked = WORK[name](toy)
    whole = run(asked, "--fresh")
    with stopped_after(4):
        run(asked, code=128 + signal.SIGTERM)
    part = run(asked)
    assert part != whole and losses(part) == losses(whole)
    (tensors, values), (expected, others) = state(part), state(whole)
    assert values == others and tensors.keys() == expected.keys()
    assert [key for key, tensor in expected.items() if not torch.equal(tensors[key], tensor)] == []


def test_dropout_follows_from_the_samples():
    device, ones = torch.device(DEVICE), torch.ones(4096, device=DEVICE)

    def dropped(first):
        seed_dropout(device, 3, first)
        return F.dropout(ones)

    assert torch.equal(dropped(8), dropped(8))
    assert not torch.equal(dropped(8), dropped(9))


@pytest.mark.parametrize(("first", "then"), [(DEVICE, "cpu"), ("cpu", DEVICE)])
def test_a_run_goes_on_elsewhere(here, capsys, first, then):
    asked = pixels(training=STEPS)
    whole = run(asked, "--fresh")
    with stopped_after(4):
        run(asked, f"compute.device={first}", "--fresh", code=128 + signal.SIGTERM)
    capsys.readouterr()
    part = run(asked, f"compute.device={then}", "--allow-changes")
    assert "going on from step 4; close, not bitwise equal: device" in capsys.readouterr().err
    assert losses(part) == pytest.approx(losses(whole), rel=1e-3)


@pytest.mark.parametrize(("first", "then"), [(DEVICE, "cpu"), ("cpu", DEVICE)])
def test_a_model_is_drawn_elsewhere(here, first, then):
    """The same noise becomes the same pictures, but for a shade."""
    sampling = {"num_images": 2, "num_inference_steps": 4}
    trained = run(pixels(training=STEPS, sampling=sampling), f"compute.device={first}")
    saved = {"type": "pretrained", "id": str(trained / "model")}
    drawn = run(
        {"version": 1, "name": "drawn", "seed": 3, "model": saved, "sampling": sampling}, f"compute.device={then}"
    )
    ours, theirs = (np.stack([pixel(folder, i) for i in range(2)]) for folder in (drawn, trained))
    assert np.abs(ours - theirs).mean() < 4
    assert ours.std() > 5


def pixel(folder, number):
    return np.asarray(Image.open(folder / "samples" / f"{number:05d}.png"), dtype=float)
