"""A GPU's memory: used up in a step, and as much as was planned."""

import gc
import json

import pytest
import torch

from tests.gpu.runs import DEVICE, after_each_step, losses, pixels, run
from tests.training.finetune import log

MODEL = {"block_out_channels": [64, 128], "layers_per_block": 2, "norm_num_groups": 32}
LARGE = {"data": {"resolution": 64}, "model": MODEL}
BATCH = 32
FACTOR = 1.6


def planned(values, capsys):
    """The bytes that each stage is planned to take at once, as a dry run says them."""
    capsys.readouterr()
    run(values, "--dry-run", "--format", "json")
    told = json.loads(capsys.readouterr().out)
    return {key: told[key]["memory"] for key in ("training", "drawing") if told[key] is not None}


def taken():
    """Bytes in use before a run, which its own peak comes on top of."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def leave(free):
    """Leaves so many bytes beside those in use."""
    gc.collect()
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + free) / whole)


def test_a_step_that_finds_no_room_ends_in_a_sentence(here, capsys):
    """What was kept before stays, and the same run goes on by what the sentence says."""
    training = {"max_train_steps": 6, "batch_size": BATCH, "checkpointing_steps": 2}
    values = pixels(training=training, **LARGE)
    with after_each_step(lambda trainer: leave(2**24) if trainer.step == 3 else None):
        folder = run(values, code=5)
    said = capsys.readouterr().err
    assert f"recipe: the device ({DEVICE}) is out of memory; what was made is kept" in said
    assert f"training.gradient_checkpointing=true, training.batch_size={BATCH // 2}" in said
    assert "Traceback" not in said
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000002"]
    torch.cuda.set_per_process_memory_fraction(1.0)
    assert run(values) == folder
    assert len(losses(folder)) == 6


def test_a_step_that_finds_no_room_is_made_of_smaller_batches(here, capsys):
    training, before, peaks = {"max_train_steps": 3, "batch_size": BATCH}, taken(), []
    with after_each_step(lambda _: peaks.append(torch.cuda.max_memory_allocated())):
        whole = losses(run(pixels(training=training, **LARGE)))
    leave(int(0.7 * (peaks[-1] - before)))
    folder = run(pixels(training={**training, "on_oom": "shrink"}, **LARGE))
    assert f"out of memory: training.batch_size {BATCH} → {BATCH // 2}" in capsys.readouterr().err
    assert log(folder, "step", "batch_size")[0] == (1, BATCH // 2)
    assert losses(folder) == pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_takes_what_was_planned(here, capsys, precision):
    training = {"max_train_steps": 3, "batch_size": BATCH, "ema": {"decay": 0.9}}
    values = pixels(
        training=training, compute={"mixed_precision": precision, "channels_last": precision == "bf16"}, **LARGE
    )
    plan, peaks, before = planned(values, capsys)["training"], [], taken()
    with after_each_step(lambda _: peaks.append(torch.cuda.max_memory_allocated())):
        run(values)
    assert_near(peaks[-1] - before, plan)


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("kind", ["pixels", "latents"])
def test_drawing_takes_what_was_planned(here, toy, capsys, kind, dtype):
    sampling = {"num_images": BATCH, "batch_size": BATCH, "num_inference_steps": 2}
    if kind == "pixels":
        saved = run(pixels(training={"max_train_steps": 1}, **LARGE)) / "model"
    else:
        saved = toy("stable_diffusion")
        sampling |= {"num_images": 4, "batch_size": 4, "prompts": ["a flower"], "height": 768, "width": 768}
    model = {"type": "pretrained", "id": str(saved)}
    compute = {"device": DEVICE, "dtype": dtype}
    values = {"version": 1, "name": "drawn", "model": model, "sampling": sampling, "compute": compute}
    plan, before = planned(values, capsys)["drawing"], taken()
    run(values)
    assert_near(torch.cuda.max_memory_allocated() - before, plan)


def assert_near(found, plan):
    whole = sum(plan.values())
    ratio = found / whole
    assert 1 / FACTOR < ratio < FACTOR, f"{found / 2**20:,.0f} MiB taken, {whole / 2**20:,.0f} planned: {plan}"
