"""The doors through which Stable Diffusion and SDXL learn, against what diffusers' own pipelines compute."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler

from runner.models import toys
from runner.models.fingerprint import fingerprint
from tests.models.drawing import built, facts_of

TEXTS = ["a red flower", "the blue house on a tree, " * 30]


@pytest.fixture(scope="module", params=["stable_diffusion", "stable_diffusion_xl"])
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param)
    getattr(toys, request.param)(path)
    return path


@pytest.fixture
def pixels():
    return torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_latents_are_samples_of_the_vae_scaled_by_its_configuration(ours, plain, pixels):
    posterior = plain.vae.encode(pixels.float() / 127.5 - 1).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(4))
    expected = (posterior.mean + posterior.std * noise) * plain.vae.config.scaling_factor
    found = ours.encode(pixels).sample(noise)
    assert torch.allclose(found, expected, atol=1e-6)
    assert ours.shape(64, 96) == tuple(found.shape[1:])
    decoded = plain.vae.decode(found / plain.vae.config.scaling_factor).sample
    assert torch.allclose(ours.decode(found), (decoded / 2 + 0.5).clamp(0, 1), atol=1e-6)


@torch.no_grad()
def test_texts_are_embedded_as_the_pipeline_embeds_prompts(ours, plain):
    found = ours.embed(TEXTS)
    encoded = plain.encode_prompt(TEXTS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    assert torch.equal(found["encoder_hidden_states"], encoded[0])
    if "text_embeds" in found:
        assert torch.equal(found["text_embeds"], encoded[2])


@torch.no_grad()
def test_the_prediction_is_the_unets_for_text_and_sizes(ours, plain):
    sizes = torch.tensor([[480, 640, 0, 16, 64, 96], [64, 96, 0, 0, 64, 96]])
    batch = SimpleNamespace(text={}, captions=TEXTS, sizes=sizes)
    x_t = torch.randn(2, *ours.shape(64, 96), generator=torch.Generator().manual_seed(4))
    t = torch.tensor([3, 700])
    cond = ours.condition(batch)
    added = {"text_embeds": cond["text_embeds"], "time_ids": sizes.float()} if "text_embeds" in cond else None
    expected = plain.unet(x_t, t, ours.embed(TEXTS)["encoder_hidden_states"], added_cond_kwargs=added).sample
    assert torch.equal(ours.predict(x_t, t, cond), expected)
    cached = SimpleNamespace(text=ours.embed(TEXTS), captions=(), sizes=sizes)
    assert all(torch.equal(cond[key], value) for key, value in ours.condition(cached).items())


def test_the_forward_process_has_the_models_own_betas(ours, plain):
    scheduler = DDPMScheduler.from_config(plain.scheduler.config)
    x0, eps = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    t = torch.tensor([5, 900])
    assert torch.allclose(ours.schedule.mix(x0, eps, t), scheduler.add_noise(x0, eps, t), atol=1e-6)


def test_a_fingerprint_follows_from_values_alone(folder, ours):
    again = built(folder)
    assert fingerprint([ours.parts["vae"]]) == fingerprint([again.parts["vae"]])
    with torch.no_grad():
        next(again.parts["vae"].parameters()).add_(1e-3)
    assert fingerprint([ours.parts["vae"]]) != fingerprint([again.parts["vae"]])
    assert fingerprint([again.parts["vae"].to(torch.bfloat16)]) != fingerprint([ours.parts["vae"]])


def test_a_vae_that_overflows_in_half_precision_is_told_and_computes_in_full(folder, pixels):
    family = built(folder, dtype="fp16")
    sdxl = len(family.TEXT_PARTS) == 2  # whose VAE is the one that overflows
    assert [sentence for sentence in family.cautions() if "sdxl-vae-fp16-fix" in sentence] == family.cautions()
    assert bool(family.cautions()) is sdxl
    if sdxl:
        whole = built(folder)
        whole.parts["vae"].half().float()  # rounded as the other's
        with torch.no_grad():
            assert torch.equal(family.encode(pixels).mean, whole.encode(pixels).mean)
        assert family.parts["vae"].dtype is torch.float16


def test_captions_that_are_cut_off_are_counted(folder):
    facts = replace(facts_of(folder), texts=("a red flower", "a red flower, " * 40))
    assert built(facts).cautions() == ["1 of 2 captions are longer than the 77 tokens that are read of them"]
    assert built(replace(facts, texts=("a red flower",))).cautions() == []
