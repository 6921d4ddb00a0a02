"""The loop on a tiny pixel UNet and a dozen blobs of colour."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DModel

from runner.data.batches import Batches, Work
from runner.diffusion.objectives import denoise
from runner.methods.full import attach
from runner.models.family import Facts
from runner.models.fast import Compiled
from runner.models.pixel_unet import PixelUNet
from runner.training.loop import Trainer, train
from tests.conftest import defaults
from tests.data.toy_pictures import ToyPictures


class Pictures(ToyPictures):
    """Smooth blobs of one colour each: something to learn."""

    def __init__(self):
        super().__init__(((16, 16),) * 12, size=16)

    def __getitem__(self, i):
        y, x = np.mgrid[0:16, 0:16] / 15
        colour = np.array([(i * 37 % 256), (i * 91 % 256), 255 - i * 20])
        return (np.exp(-8 * ((x - 0.5) ** 2 + (y - 0.5) ** 2))[..., None] * colour).astype(np.uint8)


class Hooks:
    def __init__(self, every=None):
        self.lines, self.kept, self.splits, self.every = [], {}, [], every

    def stepped(self):
        pass

    def logged(self, lines, images):
        self.lines += lines

    def due(self, step):
        return self.every is not None and step % self.every == 0

    def reached(self, step, trainer):
        self.kept[step] = trainer

    def shrunk(self, step, before, after):
        self.splits.append((step, before.batch_size, after.batch_size))


def unet(dropout=0.0):
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    sizes = {"sample_size": 16, "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8}
    return UNet2DModel(**sizes, **blocks, dropout=dropout)


def family(dropout=0.0, prediction_type="epsilon"):
    scheduler = DDPMScheduler(prediction_type=prediction_type)
    return PixelUNet(unet(dropout), scheduler, Facts("pixel_unet", {}))


def settings(**training):
    return defaults("training.json", **{"max_train_steps": 6, "batch_size": 4, "learning_rate": 1e-3, **training})


def learning(model, training, freeze=()):
    """The groups of a model of which all learns but what is frozen."""
    return attach(model, {"freeze": list(freeze), "training": training, "compute": {"mixed_precision": "fp32"}})


def eager(model):
    """Nothing of the model is compiled."""
    return Compiled(model, False, Path())


def batches(training):
    return Batches(
        Pictures(),
        work=Work.of(training, 12),
        data={"resolution": 16, "random_flip": True},
        seed=1,
        shape=lambda height, width: (3, height, width),
        noise_offset=training["noise_offset"],
        label_dropout_rate=None,
        workers=0,
    )


def run(training, *, steps=None, model=None, hooks=None, resume=None, precision="no", objective=denoise, compiled=None):
    """Trains and returns (trainer, hooks)."""
    model = model or family()
    source = batches(training)
    work = source.work
    accelerator = Accelerator(mixed_precision=precision, cpu=True)
    source.work = work.shared(accelerator.process_index, accelerator.num_processes)
    trainer = Trainer(model, learning(model, training), training, accelerator, source, compiled or eager(model))
    if resume is not None:
        trainer.restore(resume)
    if steps is not None:
        source.work = replace(source.work, samples=steps * work.samples_per_step)
    hooks = hooks or Hooks()
    train(trainer, objective, hooks, 1)
    return trainer, hooks
