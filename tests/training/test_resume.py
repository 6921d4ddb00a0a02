"""A run that was stopped and taken up again ends as if it never had been, to the last bit."""

import shutil
import signal

import pytest
from PIL import Image
from safetensors.torch import load_file

from tests.conftest import each
from tests.faults.runs import stopped_after
from tests.training.finetune import UNCACHED, log, recipe, run

TRAINING = {
    **{"max_train_steps": 6, "sample_steps": 3, "checkpointing_steps": None, "ema": {"decay": 0.9}},
    **{"lr_scheduler": "cosine", "lr_warmup_steps": 2},
}
PRIOR = {"prompt": "a flower", "num_images": 3, "num_inference_steps": 2}
LORA = {"type": "lora", "rank": 2, "dropout": 0.1, "parts": ["unet", "text_encoder"]}
WORD = {"type": "textual_inversion", "token": "<rose>"}
WORK = {  # the model, and what its recipe has besides
    "full": ("stable_diffusion", {"freeze": ["vae"], "data": {"caption_dropout_rate": 0.1}}),
    "uncached": ("stable_diffusion", {"training": UNCACHED, "data": {"shuffle_tags": True}}),
    "lora": ("stable_diffusion", {"adapter": LORA, "training": {"validation_split": 0.2, "validation_loss_steps": 2}}),
    "word": ("stable_diffusion", {"adapter": WORD}),
    "dreambooth": ("stable_diffusion", {"data": {"num_images": 3, "instance_prompt": "a sks flower", "prior": PRIOR}}),
    "fast": ("stable_diffusion", {"freeze": ["vae"], "compute": {"mixed_precision": "bf16", "channels_last": True}}),
    "sdxl": ("stable_diffusion_xl", {"adapter": LORA, "data": {"caption_dropout_rate": 0.1}}),
}


def asked(folder, *, workers, training=(), compute=(), **sections):
    """A recipe that shows pictures on the way and at the end."""
    sampling = {"prompts": ["a red flower"], "num_images": 2, "num_inference_steps": 4, "height": 32, "width": 32}
    compute = {"dataloader_num_workers": workers, **dict(compute)}
    return recipe(folder, training={**TRAINING, **dict(training)}, sampling=sampling, compute=compute, **sections)


def written(folder):
    """The weights, and the pixels of all pictures, by their path in the run's folder."""
    model = {path: load_file(path) for path in (folder / "model").rglob("*.safetensors")}
    pictures = {path: Image.open(path).convert("RGB").tobytes() for path in (folder / "samples").iterdir()}
    weights = {f"{path}:{key}": tensor.numpy().tobytes() for path in model for key, tensor in model[path].items()}
    return {str(path).removeprefix(str(folder)): held for path, held in (weights | pictures).items()}


@pytest.mark.parametrize("name", each(WORK, few=("lora", "fast")))
@pytest.mark.parametrize("workers", each((0, 2), few=(2,)))
def test_a_run_goes_on_bitwise(here, toy, name, workers):
    model, sections = WORK[name]
    whole = run(asked(toy(model), workers=2 - workers, **sections), "--fresh")
    assert len(log(whole, "loss")) >= 6
    with stopped_after(4):
        part = run(asked(toy(model), workers=workers, **sections), code=128 + signal.SIGTERM)
    shutil.rmtree(here / "cache")
    assert [path.name for path in (part / "checkpoints").iterdir()] == ["step-000004"]
    assert run(asked(toy(model), workers=workers, **sections)) == part != whole
    keys = ("step", "loss", "learning_rate", "grad_norm", "validation_loss")
    assert log(part, *keys) == log(whole, *keys)
    ours, theirs = written(part), written(whole)
    assert ours.keys() == theirs.keys()
    assert [path for path in ours if ours[path] != theirs[path]] == []
