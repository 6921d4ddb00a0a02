"""What the rules let through, diffusers can build, run and draw with; what they refuse, it cannot."""

import random
from typing import Any

import pytest
import torch

from runner.errors import ModelError
from runner.language.load import parse
from runner.language.problems import RecipeProblems
from runner.language.recipe import read, to_yaml
from runner.models.pixel_unet import PixelUNet

DOWN = ["DownBlock2D", "ResnetDownsampleBlock2D", "AttnDownBlock2D"]
UP = ["UpBlock2D", "ResnetUpsampleBlock2D", "AttnUpBlock2D"]


def recipe(**sections: dict[str, Any]) -> dict[str, Any]:
    base: dict[str, Any] = {
        "version": 1,
        "name": "trial",
        "data": {"type": "builtin"},
        "model": {"type": "pixel_unet"},
        "scheduler": {},
        "training": {"max_train_steps": 1},
    }
    return base | sections


def accepted(values: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return read(parse(to_yaml(values, header=False), "trial.yaml"))[0].values
    except RecipeProblems:
        return None


def some_model(dice: random.Random) -> dict[str, Any]:
    levels = dice.randint(1, 4)
    model: dict[str, Any] = {
        "type": "pixel_unet",
        "block_out_channels": [dice.choice([8, 16, 24, 32, 48]) for _ in range(levels)],
        "layers_per_block": dice.randint(1, 2),
        "attention_head_dim": dice.choice([None, 4, 8, 16, 64]),
        "norm_num_groups": dice.choice([4, 8, 16]),
        "attn_norm_num_groups": dice.choice([None, 2, 8, 16]),
        "add_attention": dice.choice([True, True, False]),
        "downsample_type": dice.choice(["conv", "resnet"]),
        "upsample_type": dice.choice(["conv", "resnet"]),
        "downsample_padding": dice.choice([0, 1]),
        "resnet_time_scale_shift": dice.choice(["default", "scale_shift"]),
        "num_class_embeds": dice.choice([None, 5]),
        "time_embedding_dim": dice.choice([None, 20]),
        "freq_shift": dice.choice([0, 1]),
    }
    if dice.random() < 0.7:
        model["down_block_types"] = [dice.choice(DOWN) for _ in range(dice.choice([levels] * 5 + [2]))]
        model["up_block_types"] = [dice.choice(UP) for _ in range(dice.choice([levels] * 5 + [3]))]
    return model


def runs(values: dict[str, Any], resolution: int) -> bool:
    """Whether the UNet can be built and called, without any memory for it."""
    classes = [str(i) for i in range(values["model"]["num_class_embeds"] or 0)]
    try:
        model = values["model"] | PixelUNet.block_types(values["model"])
        facts = PixelUNet.from_recipe(model, values["scheduler"], resolution, classes)
        unet = PixelUNet.skeletons(facts)["unet"]
        x = torch.empty(2, 3, resolution, resolution, device="meta")
        labels = {"class_labels": torch.zeros(2, dtype=torch.long, device="meta")} if classes else {}
        return bool(unet(x, torch.zeros(2, device="meta"), **labels).sample.shape == x.shape)
    except (ModelError, ValueError, RuntimeError, ZeroDivisionError, IndexError):
        return False


def test_every_accepted_unet_can_be_built_and_called() -> None:
    dice = random.Random(3)
    tried = 0
    for _ in range(400):
        resolution = dice.choice([8, 16, 24, 32, 40])
        values = accepted(recipe(model=some_model(dice), data={"type": "builtin", "resolution": resolution}))
        if values is not None:
            tried += 1
            assert runs(values, resolution), values["model"]
        if tried == 25:
            break
    assert tried == 25


@pytest.mark.parametrize(
    ("model", "resolution"),
    [
        ({"block_out_channels": [16, 24], "norm_num_groups": 16}, 16),
        ({"block_out_channels": [16, 16, 16], "norm_num_groups": 8}, 18),
        ({"block_out_channels": [16, 16], "norm_num_groups": 8, "down_block_types": ["DownBlock2D"] * 3}, 16),
        ({"block_out_channels": [16, 16], "norm_num_groups": 8, "attention_head_dim": 32}, 16),
        ({"block_out_channels": [16, 24], "norm_num_groups": 8, "attn_norm_num_groups": 16}, 16),
    ],
)
def test_what_the_rules_refuse_diffusers_cannot_do(model: dict[str, Any], resolution: int) -> None:
    values = recipe(model={"type": "pixel_unet", **model}, data={"type": "builtin", "resolution": resolution})
    assert accepted(values) is None
    defaults = accepted(recipe())
    assert defaults is not None
    assert not runs(defaults | {"model": defaults["model"] | model}, resolution)


SAMPLERS = [
    *[
        "DDPM",
        "DDIM",
        "PNDM",
        "LMSDiscrete",
        "EulerDiscrete",
        "EulerAncestralDiscrete",
        "HeunDiscrete",
        "DPMSolverMultistep",
    ],
    *["DPMSolverSinglestep", "KDPM2Discrete", "KDPM2AncestralDiscrete", "UniPCMultistep", "DEISMultistep", "LCM"],
]


def draws(values: dict[str, Any]) -> bool:
    """Whether the sampler gets through its steps with finite numbers, for a model that says what it sees."""
    from runner.diffusion.samplers import noise_scheduler, sampler

    try:
        scheduler = sampler(noise_scheduler(values["scheduler"]), values["sampling"]["scheduler"])
        scheduler.set_timesteps(values["sampling"]["num_inference_steps"])
        x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            x = scheduler.step(scheduler.scale_model_input(x, t) * 0.5, t, x).prev_sample
        return bool(torch.isfinite(x).all())
    except (ValueError, NotImplementedError, IndexError):
        return False


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_samplers_and_predictions(kind: str, prediction: str) -> None:
    values = recipe(
        scheduler={"prediction_type": prediction},
        sampling={"num_inference_steps": 6, "scheduler": {"type": kind}},
    )
    resolved = accepted(values)
    asked = resolved or accepted(recipe(scheduler={"prediction_type": prediction})) or {}
    asked = asked | {"sampling": {"num_inference_steps": 6, "scheduler": {"type": kind}}}
    assert draws(asked) == (resolved is not None)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"type": "PNDM"}, 3),
        ({"type": "PNDM"}, 4),
        ({"type": "PNDM", "skip_prk_steps": True}, 1),
        ({"type": "DDIM", "steps_offset": 30}, 50),
        ({"type": "DDIM", "steps_offset": 19}, 50),
        ({"type": "DDPM", "steps_offset": 20}, 50),
        ({"type": "EulerDiscrete", "use_karras_sigmas": True, "use_beta_sigmas": True}, 6),
        ({"type": "EulerDiscrete", "use_beta_sigmas": True}, 6),
        ({"type": "DPMSolverMultistep", "algorithm_type": "dpmsolver"}, 6),
        ({"type": "DPMSolverMultistep", "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}, 6),
        ({"type": "DPMSolverSinglestep", "algorithm_type": "dpmsolver"}, 6),
        ({"type": "UniPCMultistep", "solver_type": "bh1"}, 6),
        ({"type": "UniPCMultistep", "solver_type": "bh1", "final_sigmas_type": "sigma_min"}, 6),
        ({"type": "UniPCMultistep", "predict_x0": False}, 6),
        ({"type": "UniPCMultistep", "lower_order_final": False}, 6),
        ({"type": "UniPCMultistep", "lower_order_final": False, "solver_order": 1}, 6),
        ({"type": "LCM"}, 51),
        ({"type": "LCM", "original_inference_steps": 100}, 51),
        ({"type": "DDIM"}, 1001),
        ({"type": "DDPM"}, 1000),
    ],
)
def test_options_of_samplers(options: dict[str, Any], steps: int) -> None:
    sampling = {"num_inference_steps": steps, "scheduler": options}
    resolved = accepted(recipe(sampling=sampling))
    defaults = accepted(recipe())
    assert defaults is not None
    assert draws(defaults | {"sampling": sampling}) == (resolved is not None)
