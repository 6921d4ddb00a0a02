"""Every kind of training: two processes learn what one does, and build the same caches together."""

import pytest
import yaml
from PIL import Image

from runner.captioning.toy import toy as captioner
from tests.conftest import each
from tests.faults.runs import log
from tests.several.crew import ends
from tests.training.finetune import UNCACHED, recipe

PRIOR = {"prompt": "a flower", "num_images": 3, "num_inference_steps": 2}
LORA = {"type": "lora", "rank": 2, "parts": ["unet", "text_encoder"]}
WORK = {  # the model, and what its recipe has besides
    "full": ("stable_diffusion", {"freeze": ["vae"], "training": {"validation_split": 0.25}}),
    "uncached": ("stable_diffusion", {"training": UNCACHED}),
    "lora": ("stable_diffusion", {"adapter": LORA}),
    "word": ("stable_diffusion", {"adapter": {"type": "textual_inversion", "token": "<rose>"}}),
    "prior": ("stable_diffusion", {"data": {"num_images": 5, "instance_prompt": "a sks flower", "prior": PRIOR}}),
    "sdxl": ("stable_diffusion_xl", {"freeze": ["vae"]}),
    "buckets": ("stable_diffusion", {"data": {"aspect_ratio_buckets": {"step": 8}}}),
    "captions": (
        "stable_diffusion",
        {"data": {"caption": {"id": "./captioner", "overwrite": True}, "caption_templates": ["a flower"]}},
    ),
}
TRAINING = {"max_train_steps": 3, "batch_size": 4, "validation_loss_steps": 2}


def pictures(folder):
    """Pictures of three shapes, five of each."""
    folder.mkdir()
    for number in range(15):
        size = [(48, 32), (32, 32), (32, 48)][number % 3]
        Image.new("RGB", size, (17 * number, 255 - 17 * number, 90)).save(folder / f"{number:02}.png")
        (folder / f"{number:02}.txt").write_text(f"a shade, the {number}th")


def asked(here, toy, name):
    model, sections = WORK[name]
    training = {**TRAINING, **sections.get("training", {})}
    values = recipe(toy(model), compute={"mixed_precision": "fp32"}, **{**sections, "training": training})
    if name == "captions":
        captioner(here / "captioner")
    if name == "buckets":
        pictures(here / "pictures")
        values["data"] = {"type": "folder", "id": "./pictures", "resolution": 32, **sections["data"]}
    return values


def learned(here, processes):
    """The log of a run by so many processes, and the checksums of the caches that it made."""
    place = here / str(processes)
    words = ("run", "recipe.yaml", "--output-dir", place, "--cache-dir", place / "cache")
    codes, said = ends(here, processes, *words)
    assert codes == [0] * processes, said
    kept = sorted((place / "cache").glob("*/*/manifest.json"))
    return log(place / "tuned" / "001"), {path.parent.parent.name: path.read_text() for path in kept}


@pytest.mark.parametrize("name", each(WORK, few=["lora"]))
def test_two_processes_learn_what_one_does(here, toy, name):
    (here / "recipe.yaml").write_text(yaml.safe_dump(asked(here, toy, name)))
    (alone, caches), (together, same) = (learned(here, processes) for processes in (1, 2))
    assert caches == same and (caches != {}) == (name != "uncached")
    assert len(alone) == len(together) >= 3
    for a, b in zip(alone, together):
        assert a == pytest.approx(b, rel=2e-3)
