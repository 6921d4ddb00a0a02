"""The model card: front matter that parses, text that shows as it is."""

import yaml

from runner.outputs.card import card

RECIPE = {
    "name": "rose",
    "description": "",
    "seed": 3,
    "data": {"type": "hub", "id": "nelorth/oxford-flowers", "resolution": 64},
    "model": {"type": "pixel_unet", "num_class_embeds": None},
    "training": {"batch_size": 16, "learning_rate": 2e-5},
}


def _front(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_front_matter_names_licence_data_and_kind() -> None:
    text = card(RECIPE, {"diffusers": "0.42.1"}, {"Parameters": "1,512,003"})
    assert _front(text) == {
        "license": "unknown",
        "library_name": "diffusers",
        "datasets": ["nelorth/oxford-flowers"],
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["diffusion", "unconditional-image-generation", "recipe"],
    }
    for words in ("the data set nelorth/oxford-flowers", "| Parameters | 1,512,003 |", "diffusers 0.42.1", "64 px"):
        assert words in text
    assert len(text.splitlines()) < 50


def test_a_model_with_classes_is_loaded_by_its_parts() -> None:
    assert "DiffusionPipeline.from_pretrained" in card(RECIPE, {}, {})
    classes = {**RECIPE, "model": {"type": "pixel_unet", "num_class_embeds": 6}}
    assert 'UNet2DModel.from_pretrained("PATH_OF_THIS_FOLDER", subfolder="unet")' in card(classes, {}, {})


def test_places_on_the_machine_stay_out() -> None:
    for data in ({"type": "folder", "id": "/home/ann/photos"}, {"type": "hub", "id": "/home/ann/train.parquet"}):
        text = card({**RECIPE, "data": {**data, "resolution": 8}}, {}, {})
        assert "ann" not in text and "datasets" not in _front(text)
    drawn = card({"name": "x", "model": {"type": "pretrained", "id": "/home/ann/model"}}, {}, {})
    assert "ann" not in drawn and _front(drawn)["pipeline_tag"] == "text-to-image"


def test_foreign_text_is_no_markup() -> None:
    text = card({**RECIPE, "description": "<script>\n---\nlicense: mit | \x1b[2J `x`"}, {}, {})
    assert _front(text)["license"] == "unknown"
    assert "<script>" not in text.replace("\\<", "").replace("\\>", "")
    assert "\x1b" not in text and "\\|" in text and "\\`x\\`" in text
