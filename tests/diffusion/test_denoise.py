"""Our sampler against diffusers' pipelines, byte for byte."""

import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel

from runner.models.family import Facts, Request
from runner.models.pixel_unet import PixelUNet

SAMPLERS = [
    "DDPM DDIM PNDM LMSDiscrete EulerDiscrete EulerAncestralDiscrete HeunDiscrete DPMSolverMultistep",
    "DPMSolverSinglestep KDPM2Discrete KDPM2AncestralDiscrete UniPCMultistep DEISMultistep LCM",
]


def unet(classes=None):
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=16,
        block_out_channels=(16, 16),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        num_class_embeds=classes,
    ).eval()


def request(**options):
    labels = options.pop("labels", None)
    sampling = {"num_inference_steps": 5, "guidance_scale": 1.0, "eta": 0.0, "trajectory": 0, **options}
    return Request(sampling, labels=labels)


def family(classes=0, **scheduler):
    names = [f"class {i}" for i in range(classes)]
    return PixelUNet(unet(classes + 1 if classes else None), DDPMScheduler(**scheduler), Facts("pixel_unet", {}, names))


def generators(*seeds):
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def same(ours, theirs):
    return len(ours) == len(theirs) and all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(ours, theirs))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_equals_ddpm_pipeline(prediction_type):
    model = family(prediction_type=prediction_type)
    theirs = DDPMPipeline(model.unet, model.scheduler)
    theirs.set_progress_bar_config(disable=True)
    wanted = theirs(batch_size=3, generator=generators(7, 8, 9), num_inference_steps=5).images
    assert same(model.draw(request(), generators(7, 8, 9), lambda: None).images, wanted)


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_equals_ddim_pipeline(eta):
    model = family()
    theirs = DDIMPipeline(model.unet, DDIMScheduler.from_config(model.scheduler.config))
    theirs.set_progress_bar_config(disable=True)
    wanted = theirs(batch_size=2, generator=generators(1, 2), num_inference_steps=6, eta=eta).images
    ours = model.draw(
        request(scheduler={"type": "DDIM"}, eta=eta, num_inference_steps=6), generators(1, 2), lambda: None
    )
    assert same(ours.images, wanted)


@pytest.mark.parametrize("kind", " ".join(SAMPLERS).split())
def test_every_sampler_draws(kind):
    model = family()
    ticks = []
    asked = request(scheduler={"type": kind})
    drawn = model.draw(asked, generators(1, 2), lambda: ticks.append(1))
    assert len(ticks) == model.calls(asked) >= 5
    assert [image.size for image in drawn.images] == [(16, 16)] * 2
    assert np.asarray(drawn.images[0]).std() > 0
    assert not same(drawn.images[:1], drawn.images[1:])
    assert same(model.draw(asked, generators(1, 2), lambda: None).images, drawn.images)


@pytest.mark.parametrize("kind", ["DDPM", "EulerAncestralDiscrete", "DPMSolverMultistep"])
def test_noise_does_not_depend_on_the_batch(kind):
    """Sums in another order may move a value by a rounding step, no more."""
    model = family()
    together = model.draw(request(scheduler={"type": kind}), generators(1, 2, 3), lambda: None).images
    alone = [model.draw(request(scheduler={"type": kind}), generators(s), lambda: None).images[0] for s in (1, 2, 3)]
    for a, b in zip(together, alone):
        assert np.abs(np.asarray(a, int) - np.asarray(b, int)).max() <= 2


def test_guidance_is_the_papers_combination():
    """without + scale · (towards − without), Ho and Salimans 2022, one DDIM step by hand."""
    model = family(classes=3)
    x = torch.randn(1, 3, 16, 16, generator=generators(5)[0])
    t = torch.tensor(0)
    with torch.no_grad():
        towards = model.unet(x, t, class_labels=torch.tensor([1])).sample
        without = model.unet(x, t, class_labels=torch.tensor([3])).sample
    scheduler = DDIMScheduler.from_config(model.scheduler.config)
    scheduler.set_timesteps(1)
    assert scheduler.timesteps.tolist() == [0]
    wanted = scheduler.step(without + 3 * (towards - without), t, x).prev_sample
    asked = request(labels=[1], guidance_scale=3.0, scheduler={"type": "DDIM"}, num_inference_steps=1)
    drawn = np.asarray(model.draw(asked, generators(5), lambda: None).images[0], int)
    expected = ((wanted / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).numpy() * 255).round().astype(int)
    assert np.abs(drawn - expected).max() <= 1


def test_classes_change_the_picture_and_guidance_too():
    model = family(classes=3)
    draw = lambda **o: model.draw(request(**o), generators(1), lambda: None).images  # noqa: E731
    assert not same(draw(labels=[0]), draw(labels=[1]))
    assert not same(draw(labels=[0]), draw(labels=[0], guidance_scale=4.0))


@pytest.mark.parametrize("keep", [0, 1, 2, 4, 50])
def test_moments_run_from_noise_to_the_picture(keep):
    drawn = family().draw(request(trajectory=keep, num_inference_steps=6), generators(1, 2), lambda: None)
    assert len(drawn.moments) == (2 if keep else 0)
    for strip, image in zip(drawn.moments, drawn.images):
        assert len(strip) == min(keep, 7)
        assert same(strip[-1:], [image])
