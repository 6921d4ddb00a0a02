"""Schedules against diffusers' own classes and hand computations."""

import math

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from runner.diffusion.samplers import noise_scheduler, sampler
from runner.diffusion.schedules import DiscreteSchedule
from tests.conftest import defaults

SCHEDULES = ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"]


def noise(**options):
    return defaults("scheduler/noise.json", **options)


def random_batch(count=7):
    generator = torch.Generator().manual_seed(1)
    x0, eps = torch.randn(2, count, 3, 4, 4, generator=generator)
    return x0, eps, torch.linspace(0, 999, count).long()


@pytest.mark.parametrize("beta_schedule", SCHEDULES)
@pytest.mark.parametrize("zero_snr", [False, True])
def test_noise_schedule_is_diffusers_own(beta_schedule, zero_snr):
    ours = noise_scheduler(noise(beta_schedule=beta_schedule, rescale_betas_zero_snr=zero_snr))
    theirs = DDPMScheduler(beta_schedule=beta_schedule, rescale_betas_zero_snr=zero_snr)
    assert torch.equal(ours.alphas_cumprod, theirs.alphas_cumprod)
    if zero_snr:
        assert ours.alphas_cumprod[-1] == 0


def test_the_cosine_schedule_is_the_papers():
    """Nichol and Dhariwal 2021, eq. 17: ᾱ_t = f(t)/f(0), f(t) = cos²((t/T + s)/(1 + s) · π/2), s = 0.008."""
    steps, s = 1000, 0.008
    f = [math.cos((t / steps + s) / (1 + s) * math.pi / 2) ** 2 for t in range(steps + 1)]
    ours = noise_scheduler(noise(beta_schedule="squaredcos_cap_v2")).alphas_cumprod
    for t in (0, 1, 250, 500, 900, 990):
        assert ours[t].item() == pytest.approx(f[t + 1] / f[0], rel=2e-3)


@pytest.mark.parametrize("beta_schedule", SCHEDULES)
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_mix_and_target_equal_diffusers(beta_schedule, prediction_type):
    scheduler = noise_scheduler(noise(beta_schedule=beta_schedule, prediction_type=prediction_type))
    ours = DiscreteSchedule(scheduler, "cpu")
    x0, eps, t = random_batch()
    torch.testing.assert_close(ours.mix(x0, eps, t), scheduler.add_noise(x0, eps, t), rtol=0, atol=0)
    wanted = {"epsilon": eps, "sample": x0, "v_prediction": scheduler.get_velocity(x0, eps, t)}[prediction_type]
    torch.testing.assert_close(ours.target(x0, eps, t), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_min_snr_weights(prediction_type):
    """As diffusers' training examples compute them from their own compute_snr."""
    scheduler = noise_scheduler(noise(prediction_type=prediction_type))
    t = torch.arange(0, 1000, 7)
    snr = compute_snr(scheduler, t)
    clamped = torch.stack([snr, torch.full_like(snr, 5.0)], dim=1).min(dim=1)[0]
    wanted = {"epsilon": clamped / snr, "sample": clamped, "v_prediction": clamped / (snr + 1)}[prediction_type]
    ours = DiscreteSchedule(scheduler, "cpu").weight(t, 5.0)
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-6)


def test_no_weighting_is_one():
    schedule = DiscreteSchedule(noise_scheduler(noise()), "cpu")
    assert torch.equal(schedule.weight(torch.arange(1000), None), torch.ones(1000))


def test_every_timestep_is_equally_likely():
    schedule = DiscreteSchedule(noise_scheduler(noise()), "cpu")
    u = (torch.arange(1000) + 0.5) / 1000
    assert torch.equal(schedule.times(u, torch.Size()), torch.arange(1000))
    assert schedule.times(torch.tensor([0.0, 0.9999999]), torch.Size()).tolist() == [0, 999]


def test_a_sampler_keeps_the_schedule_it_was_made_from():
    own = noise_scheduler(noise(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"))
    ddim = sampler(own, {"type": "DDIM", "timestep_spacing": "trailing"})
    assert torch.equal(ddim.alphas_cumprod, own.alphas_cumprod)
    assert (ddim.config.prediction_type, ddim.config.timestep_spacing) == ("v_prediction", "trailing")


def test_a_sigmoid_schedule_reaches_samplers_that_do_not_know_it():
    own = noise_scheduler(noise(beta_schedule="sigmoid"))
    for kind in ("DDIM", "EulerDiscrete", "DPMSolverMultistep"):
        assert torch.allclose(sampler(own, {"type": kind}).alphas_cumprod, own.alphas_cumprod, atol=1e-7)
