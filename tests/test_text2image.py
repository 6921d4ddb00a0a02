"""A picture-caption link is really learned: a VAE and a latent model from random weights, by the shipped recipes."""

import numpy as np
import pytest
import torch

from runner.cli import main
from runner.data.builtin import draw, scene
from runner.shipped_files import find
from tests.hues import shown_colour

UNSEEN = range(200_000, 200_100)  # flowers that no recipe learns from


def run(name, *overrides):
    assert main(["run", str(find(name)), "--quiet", *overrides]) == 0


def train(autoencoder=(), text2image=()):
    """Runs both recipes in the working directory.

    Returns:
        The folder of the model.
    """
    run("tiny_autoencoder", *autoencoder)
    run("tiny_text2image", "model.vae.id=outputs/tiny-autoencoder/latest/model", *text2image)
    return "outputs/tiny-text2image/latest/model"


def agreement(pictures, colours):
    return np.mean([shown_colour(picture) == colour for picture, colour in zip(pictures, colours, strict=True)])


def test_the_measure_is_right_about_the_flowers_themselves():
    scenes = [scene(i) for i in UNSEEN]
    pictures = [np.asarray(draw(flower, 64)) for flower in scenes]
    assert agreement(pictures, [flower.colour for flower in scenes]) == 1
    assert agreement(pictures[1:], [flower.colour for flower in scenes[:-1]]) < 0.4


def test_the_recipes_make_a_pipeline_of_plain_diffusers(here):
    from diffusers import StableDiffusionPipeline

    few = ["data.num_images=8", "training.max_train_steps=2", "training.sample_steps=2", "training.lr_warmup_steps=1"]
    few_drawn = ["sampling.num_images=1", "sampling.num_inference_steps=2", "training.batch_size=4"]
    model = train(few, [*few, *few_drawn])
    pipeline = StableDiffusionPipeline.from_pretrained(model)
    assert pipeline.vae.config.scaling_factor not in (1.0, 0.18215)
    assert pipeline.unet.config.in_channels == pipeline.vae.config.latent_channels
    assert pipeline.tokenizer.tokenize(scene(0).caption) == [f"{word}</w>" for word in scene(0).caption.split()]
    samples = here / "outputs" / "tiny-text2image" / "latest" / "samples"
    assert (samples / "grid.png").is_file()
    assert (samples / "progress.gif").is_file()


@pytest.mark.slow
def test_the_colour_of_a_caption_is_drawn(here):
    """Over 100 captions of flowers that were never seen: the colour asked for, far more often than by chance."""
    from diffusers import StableDiffusionPipeline

    model = train(["training.max_train_steps=1000"], ["training.max_train_steps=500", "training.sample_steps=null"])
    pipeline = StableDiffusionPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    scenes, pictures = [scene(i) for i in UNSEEN], []
    for start in range(0, len(scenes), 20):
        captions = [flower.caption for flower in scenes[start : start + 20]]
        generators = [torch.Generator().manual_seed(start + i) for i in range(len(captions))]
        options = {"num_inference_steps": 20, "guidance_scale": 3.0, "output_type": "np"}
        drawn = pipeline(captions, height=64, width=64, generator=generators, **options).images
        pictures += list((drawn * 255).round().astype(np.uint8))
    colours = [flower.colour for flower in scenes]
    shuffled = [agreement(pictures, np.random.default_rng(i).permutation(colours)) for i in range(100)]
    assert np.mean(shuffled) < 0.25
    assert agreement(pictures, colours) > 0.7
