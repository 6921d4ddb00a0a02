"""The VAE from random weights: what a recipe builds, learns and saves, and what diffusers makes of it."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from runner.data.builtin import draw, scene
from runner.diffusion.objectives import autoencode
from runner.models.autoencoder_kl import AutoencoderKLFamily
from runner.models.counting import learning, parameters
from runner.progress import create

MODEL = {"block_out_channels": [8, 16, 16], "layers_per_block": 1, "latent_channels": 3, "norm_num_groups": 4}
MODEL["mid_block_add_attention"] = True
CPU = {"device": torch.device("cpu"), "compute": {"dtype": "fp32"}}


def build(seed=0, **model):
    facts = AutoencoderKLFamily.from_recipe({"type": "autoencoder_kl", **MODEL, **model}, 32)
    return AutoencoderKLFamily.build(facts, seed=seed, progress=create(quiet=True), **CPU)


@pytest.fixture
def pixels():
    flowers = np.stack([np.asarray(draw(scene(i), 32)) for i in range(4)])
    return torch.from_numpy(flowers).permute(0, 3, 1, 2).contiguous()


class Batch:
    def __init__(self, pixels, posterior=None):
        self.pixels, self.posterior = pixels, posterior


def test_weights_follow_from_the_seed():
    first, again, other = (torch.cat([p.flatten() for p in build(s).vae.parameters()]) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_sizes_are_those_of_the_recipe(pixels):
    family = build()
    assert family.shape(32, 32) == (3, 8, 8)
    assert family.autoencode(pixels, None)[0].shape == pixels.shape
    assert family.vae.decoder.up_blocks[-1].resnets[0].out_channels == 8
    assert parameters(build(mid_block_add_attention=False).vae) < parameters(family.vae)


def test_it_is_counted_without_weights():
    family = build()
    vae = AutoencoderKLFamily.skeletons(family.facts)["vae"]
    assert parameters(vae) == parameters(family.vae)
    count = learning(vae, lambda: AutoencoderKLFamily.rehearse(vae, family.facts, None), checkpointed=True)
    assert count.flops > 0


def test_the_objective_is_the_error_and_the_divergence_of_each_picture(pixels):
    family, training = build(), {"kl_weight": 0.5}
    noise = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    losses = autoencode(family, Batch(pixels, noise), training)
    for i, loss in enumerate(losses):
        scaled = pixels[i : i + 1] / 127.5 - 1
        posterior = family.vae.encode(scaled).latent_dist
        shown = family.vae.decode(posterior.mean + posterior.std * noise[i : i + 1]).sample
        error = (shown - scaled).abs().mean() + (shown - scaled).square().mean()
        assert loss.item() == pytest.approx((error + 0.5 * posterior.kl()[0]).item(), rel=1e-4)


def test_it_learns(pixels):
    family, training = build(), {"kl_weight": 1e-6}
    optimizer = torch.optim.Adam(family.vae.parameters(), 2e-3)
    before = (family.reconstruct(pixels) - pixels / 255).abs().mean().item()
    for step in range(20):
        noise = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        autoencode(family, Batch(pixels, noise), training).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    shown = family.reconstruct(pixels)
    assert (shown - pixels / 255).abs().mean().item() < 0.8 * before
    assert 0 <= shown.min() <= shown.max() <= 1


def test_measured_latents_have_unit_variance_and_are_saved_so(pixels, tmp_path):
    family = build()
    family.measure([pixels[:3], pixels[3:]])
    family.save(tmp_path / "model")
    vae = AutoencoderKL.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        posterior = vae.encode(pixels / 127.5 - 1).latent_dist
        drawn = torch.stack([posterior.sample(torch.Generator().manual_seed(s)) for s in range(50)])
    assert (drawn * vae.config.scaling_factor).std().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(vae.decode(posterior.mean).sample, family.autoencode(pixels, None)[0])
