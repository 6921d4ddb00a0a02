"""Fine-tuning of whole parts of a model, against a plain loop."""

import pytest

from runner.models import toys
from tests.conftest import each
from tests.training.finetune import CACHE, CACHES, Samples, assert_equal_work, recipe, run, weights
from tests.training.plain import Plain

OBJECTIVES = {
    "noise": ({}, {}),
    "perturbed": ({"noise_offset": 0.1, "input_perturbation": 0.2}, {}),
    "snr": ({"snr_gamma": 5.0}, {}),
    "velocity": (
        {"snr_gamma": 5.0, "gradient_accumulation_steps": 3},
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    ),
}


def assert_parity(folder, freeze, training, schedule, rates, **tolerance):
    """Runs with and without caches, and a plain loop that trains the parts in `rates`, do the same."""
    sections = {"scheduler": {"type": "DDPM", **schedule}} if schedule else {}
    done = [
        run(recipe(folder, training={**training, **caches}, freeze=freeze, **sections), "--fresh") for caches in CACHES
    ]
    plain = Plain(folder, Samples(done[0]), **schedule)
    parts = {name: getattr(plain.pipeline, name).requires_grad_(True).train() for name in rates}
    average = plain.train(*((parts[name].parameters(), rate) for name, rate in rates.items()))
    if average is not None:
        average.copy_to(p for part in parts.values() for p in part.parameters())
    for made in done:
        assert_equal_work(made, plain, weights(made / "model"), weights(plain.pipeline), weights(folder), **tolerance)


@pytest.mark.parametrize("name", each(OBJECTIVES, few=("velocity",)))
def test_the_unet_learns_as_in_a_plain_loop(here, toy, name):
    training, schedule = OBJECTIVES[name]
    folder = toy("stable_diffusion")
    assert_parity(folder, ["vae", "text_encoder"], training, schedule, {"unet": 1e-3})


def test_the_text_encoder_learns_with_a_rate_of_its_own(here, toy):
    training = {"text_encoder_learning_rate": 3e-4, "ema": {"decay": 0.9}}
    assert_parity(toy("stable_diffusion"), ["vae"], training, {}, {"unet": 1e-3, "text_encoder": 3e-4})


@pytest.mark.slow
def test_sdxl_learns_as_in_a_plain_loop(here, toy):
    freeze = ["vae", "text_encoder", "text_encoder_2"]
    assert_parity(toy("stable_diffusion_xl"), freeze, {}, {}, {"unet": 1e-3})


def test_latents_that_other_settings_made_are_not_taken(here):
    """Their last bits are others, and a repeated run would end with other weights."""
    toys.stable_diffusion(here / "toy")
    for count, on in ((1, False), (2, True), (2, False)):
        run(recipe(here / "toy", training={"max_train_steps": 1}, compute={"channels_last": on}))
        assert len([path for path in (CACHE / "latents").iterdir() if path.is_dir()]) == count
