"""A run of a few steps on a few pictures, and what is asked of it."""

import json
import signal
from contextlib import contextmanager
from itertools import count

import pytest
from PIL import Image

from runner.cli import main
from runner.training.keeper import Keeper

TINY = """\
version: 1
name: tiny
seed: 3
data: {type: folder, id: ./mine, resolution: 16}
model: {type: pixel_unet, block_out_channels: [8, 8], layers_per_block: 1, norm_num_groups: 4}
scheduler: {type: DDPM}
training: {max_train_steps: 6, batch_size: 2, learning_rate: 1e-3, logging_steps: 1, ema: {decay: 0.9}}
sampling: {num_images: 2, num_inference_steps: 2}
"""


def lay(folder):
    """Puts the recipe and its pictures into a folder."""
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "mine").mkdir()
    for i in range(6):
        Image.new("RGB", (20, 20), (40 * i, 99, 200)).save(folder / "mine" / f"{i}.png")


def recipe(*arguments):
    """`recipe run` of the recipe in this process: its exit code."""
    return main(["run", *(arguments if "outputs" in str(arguments[:1]) else ("tiny.yaml", *arguments))])


@contextmanager
def at_step(step, act):
    """`act(keeper)` happens in the midst of this step."""
    stepped, steps = Keeper.stepped, count(1)

    def counted(keeper):
        stepped(keeper)
        if next(steps) == step:
            act(keeper)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "stepped", counted)
        yield


def stopped_at(step, *arguments):
    """A run that a signal stops after this many steps of its own."""

    def stop(keeper):
        keeper.world.stop.requested = signal.SIGTERM

    with at_step(step, stop):
        assert recipe(*arguments) == 143


def runs(here):
    return sorted(path.name for path in (here / "outputs" / "tiny").iterdir() if path.name != "latest")


def logged(here, run="001"):
    lines = (here / "outputs" / "tiny" / run / "log.jsonl").read_text().splitlines()
    return [(line["step"], line["loss"]) for line in map(json.loads, lines)]


def record(here):
    return json.loads((here / "outputs" / "tiny" / "001" / "run.json").read_text())
