"""What a finished run has learned draws the same in plain diffusers, and by the recipe that lies beside it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, EulerDiscreteScheduler
from PIL import Image
from safetensors.torch import load_file

from runner.cli import main
from tests.conftest import each
from tests.models.drawing import load
from tests.training.finetune import recipe, run

SAMPLING = {
    **{"prompts": ["a red <rose>"], "num_images": 2, "batch_size": 1, "num_inference_steps": 4},
    **{"height": 64, "width": 64, "guidance_scale": 5.0, "seed": 11},
}
TRAINING = {"max_train_steps": 5, "learning_rate": 0.03}
LORA = {"type": "lora", "rank": 4, "alpha": 2}
WORD = {"type": "textual_inversion", "token": "<rose>", "num_vectors": 2, "initializer_token": "red flower"}


VELOCITY = {"type": "DDPM", "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}


def tuned(folder, **sections):
    return run(recipe(folder, **{"training": TRAINING, "sampling": SAMPLING, **sections}))


def pictures(folder):
    return [np.asarray(Image.open(folder / "samples" / f"{i:05d}.png")) for i in range(2)]


def plainly(pipeline):
    """What a pipeline draws when it is called as a person would."""
    options = {"num_inference_steps": 4, "height": 64, "width": 64, "guidance_scale": 5.0}
    noise = [torch.Generator().manual_seed(11 + i) for i in range(2)]
    return [np.asarray(pipeline("a red <rose>", generator=one, **options).images[0]) for one in noise]


def assert_same_everywhere(made, folder, *pipelines):
    """The run, its sample.yaml and these pipelines draw alike; the model that it began with does not."""
    drawn = pictures(made)
    assert main(["run", str(made / "sample.yaml"), "--quiet"]) == 0
    again = pictures(Path("outputs", "tuned-sample", "latest"))
    for others in (again, *map(plainly, pipelines)):
        assert all(np.array_equal(one, other) for one, other in zip(drawn, others))
    unchanged = plainly(load(DiffusionPipeline, folder))
    assert not any(np.array_equal(one, other) for one, other in zip(drawn, unchanged))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("stable_diffusion", ["unet", "text_encoder"]),
        pytest.param("stable_diffusion_xl", ["unet", "text_encoder", "text_encoder_2"], marks=pytest.mark.slow),
    ],
)
def test_both_files_of_a_lora(here, toy, name, parts):
    folder = toy(name)
    made = tuned(folder, adapter=LORA | {"parts": parts}, output={"formats": ["diffusers", "kohya"]})
    pipelines = [load(DiffusionPipeline, folder) for _ in range(2)]
    pipelines[0].load_lora_weights(made / "model")
    pipelines[1].load_lora_weights(made / "model", weight_name="kohya_lora_weights.safetensors")
    assert_same_everywhere(made, folder, *pipelines)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stable_diffusion", "stable_diffusion_xl"])
def test_a_word(here, toy, name):
    folder = toy(name)
    made = tuned(folder, adapter=WORD)
    pipeline, path = load(DiffusionPipeline, folder), made / "model" / "learned_embeds.safetensors"
    if name == "stable_diffusion":
        pipeline.load_textual_inversion(path)
    else:  # as diffusers documents it for two encoders
        for key, number in (("clip_l", ""), ("clip_g", "_2")):
            parts = {part: getattr(pipeline, f"{part}{number}") for part in ("text_encoder", "tokenizer")}
            pipeline.load_textual_inversion({"<rose>": load_file(path)[key]}, token="<rose>", **parts)
    assert_same_everywhere(made, folder, pipeline)


@pytest.mark.parametrize("name", each(("stable_diffusion", "stable_diffusion_xl"), few=("stable_diffusion",)))
def test_a_whole_model_with_a_schedule_of_its_own(here, toy, name):
    folder = toy(name)
    made = tuned(folder, scheduler=VELOCITY, training=TRAINING | {"ema": {"decay": 0.5}})
    assert_same_everywhere(made, folder, load(DiffusionPipeline, made / "model"))


@pytest.mark.slow
def test_a_lora_with_a_schedule_of_its_own(here, toy):
    folder = toy("stable_diffusion")
    made = tuned(folder, scheduler=VELOCITY, adapter=LORA)
    pipeline = load(DiffusionPipeline, folder)
    pipeline.load_lora_weights(made / "model")
    options = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "clip_sample": False}
    pipeline.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config, **options)
    assert_same_everywhere(made, folder, pipeline)


@pytest.mark.slow
def test_a_whole_model_whose_scheduler_leaves_options_open(here, toy, tmp_path):
    """The files of Stable Diffusion 1.5 say nothing of timestep_spacing: each sampler takes its own default."""
    folder = shutil.copytree(toy("stable_diffusion"), tmp_path / "open")
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({key: config[key] for key in config.keys() - {"timestep_spacing", "prediction_type"}}))
    made = tuned(folder, freeze=["vae"], sampling=SAMPLING | {"scheduler": {"type": "EulerDiscrete"}})
    pipeline = load(DiffusionPipeline, made / "model")
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    assert_same_everywhere(made, folder, pipeline)
