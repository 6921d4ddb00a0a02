"""Helpers of the GPU's tests: recipes that are quick there, their runs, and what is asked in the midst of them."""

import math
from contextlib import contextmanager

import pytest
from accelerate.state import AcceleratorState

from runner.training import checkpoints, stage
from tests.training import finetune
from tests.training.finetune import log, recipe

DEVICE = "cuda"
PLAIN = {"mixed_precision": "fp32", "allow_tf32": False, "channels_last": False, "compile": False}
UNET = {"type": "pixel_unet", "block_out_channels": [16, 32], "layers_per_block": 1, "norm_num_groups": 8}
SAMPLING = {"prompts": ["a red flower"], "num_images": 2, "num_inference_steps": 4, "height": 32, "width": 32}


def pixels(*, model=(), compute=(), **sections):
    """A recipe that trains a small pixel UNet on the GPU, in full fp32 unless `compute` says otherwise."""
    values = recipe("", compute={"device": DEVICE, **PLAIN, **dict(compute)}, **sections)
    return {**values, "model": {**UNET, **dict(model)}, "scheduler": {"type": "DDPM"}}


def tuned(folder, *, precision="fp32", compute=(), **sections):
    """A recipe that fine-tunes a toy on the GPU."""
    return recipe(folder, compute={"device": DEVICE, "mixed_precision": precision, **dict(compute)}, **sections)


def run(values, *arguments, code=0):
    """Runs a recipe by the command: the folder of its newest run."""
    AcceleratorState._reset_state(reset_partial_state=True)  # a process has one device, and a command one process
    return finetune.run(values, *arguments, code=code)


def losses(folder):
    """The logged losses, which are numbers."""
    found = [loss for (loss,) in log(folder, "loss") if loss is not None]
    assert found and all(map(math.isfinite, found))
    return found


def state(folder):
    """What the newest checkpoint of a run holds: tensors by name, and values."""
    checkpoint, damaged = checkpoints.newest(folder / "checkpoints")
    assert damaged == []
    tensors = {f"{file}.{key}": t for file, held in checkpoint.tensors.items() for key, t in held.items()}
    return tensors, checkpoint.values


@contextmanager
def after_each_step(act):
    """`act(trainer)` happens after each step of the trainings inside."""
    train = stage.train

    def watched(trainer, objective, hooks, seed):
        stepped = hooks.stepped

        def then():
            stepped()
            act(trainer)

        hooks.stepped = then
        train(trainer, objective, hooks, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "train", watched)
        yield
