"""Every shipped recipe validates, resolves to itself, and rehearses."""

import pytest
from PIL import Image

from runner import shipped_files
from runner.cli import main
from runner.language.recipe import read

NAMES = [name for name, _, _ in shipped_files.recipes()]
OFFLINE = ["quickstart"]  # those whose data is at hand

KEPT = {  # what a run leaves, by what learned
    "pixel_unet": "model/unet/config.json",
    "latent_unet": "model/unet/config.json",
    "pretrained": "model/unet/config.json",
    "autoencoder_kl": "model/config.json",
    "lora": "model/pytorch_lora_weights.safetensors",
    "textual_inversion": "model/learned_embeds.safetensors",
    "caption": "captions/metadata.jsonl",
}


def test_they_are_these():
    assert NAMES == [
        "butterflies_ddpm",
        "caption_images",
        "counterfeit_sample",
        "flowers_ddpm",
        "flowers_gpus",
        "folder_ddpm",
        "img2img",
        "inpaint",
        "local_model_sample",
        "quickstart",
        "scheduler_matrix",
        "sd_dreambooth",
        "sd_finetune",
        "sd_lora",
        "sd_textual_inversion",
        "sdxl_lora",
        "sdxl_refiner_sample",
        "tiny_autoencoder",
        "tiny_lora",
        "tiny_text2image",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_validates_without_a_warning(name, capsys):
    assert main(["validate", name]) == 0
    assert capsys.readouterr().out == f"{name}: ok\n"


@pytest.mark.parametrize("name", NAMES)
def test_what_show_prints_resolves_to_itself(name, here, capsys):
    assert main(["show", name]) == 0
    shown = capsys.readouterr().out
    (here / "shown.yaml").write_text(shown)
    assert main(["show", "shown.yaml"]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("name", OFFLINE)
def test_the_dry_run_counts(name, here, capsys):
    assert main(["run", name, "--dry-run"]) == 0
    assert "parameters" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_rehearses_offline(name, here, capsys):
    assert main(["run", name, "--smoke"]) == 0
    said = capsys.readouterr().out
    (run,) = (here / "outputs").glob("*-smoke/001")
    values = read(shipped_files.find(name))[0].values
    if "sampling" in values:
        assert "pictures" in said
        sheet = "matrix" if values["sampling"].get("matrix") else "grid"
        assert Image.open(run / "samples" / f"{sheet}.png").size[0] >= 64
    kept = KEPT["caption" if "training" not in values else values.get("adapter", values["model"])["type"]]
    assert (run / kept).is_file() == ("training" in values or "caption" in values.get("data", {}))


@pytest.mark.parametrize("name", NAMES)
def test_is_short_and_opens_with_the_line_for_editors(name):
    text = shipped_files.find(name).read_text("utf-8")
    assert text.startswith("# yaml-language-server: $schema=../schemas/recipe.json\n")
    assert len(text.splitlines()) < 60
