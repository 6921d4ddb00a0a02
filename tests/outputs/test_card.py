"""The model card: front matter that parses, text that shows as it is."""

import pytest
import yaml
from markdown_it import MarkdownIt

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


MARKUP = [
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&lt;b&gt;", "<!-- x", "<http://x>", "<a@b.c>"),
    *("[a](javascript:alert(1))", "![a](http://x)", "[a]: http://x", "http://x", "https://x", "www.x.org", "a@b.c"),
    *(
        "`x`",
        "```",
        "~~~",
        "~~x~~",
        "**x**",
        "__x__",
        "_x_",
        "$$x$$",
        "# x",
        "a | b",
        "\\",
        "\\`x\\`",
        "<div>\\",
        "x\\",
    ),
    *(
        "- x",
        "+ x",
        "* x",
        "1. x",
        "12) x",
        "> x",
        "---",
        "===",
        "    x",
        "a\n\n<b>x</b>",
        "a\n---\nlicense: mit\n---\n",
    ),
]


def _rendered(text: str) -> list[tuple[str, str]]:
    """What a reader of Markdown makes of a card, without its words."""
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    blocks = reader.parse(text.split("---\n", 2)[2])
    return [(part.type, part.tag) for block in blocks for part in [block, *(block.children or ())]]


@pytest.mark.parametrize("text", MARKUP)
def test_no_foreign_text_is_rendered(text: str) -> None:
    foreign = {**RECIPE, "name": text, "description": text, "seed": text, "training": {"batch_size": text}}
    foreign["data"] = {**RECIPE["data"], "resolution": text}
    ours = card(foreign, {text: text}, {text: text})
    words = {**foreign, "name": "x", "description": "x", "seed": "x", "training": {"batch_size": "x"}}
    words["data"] = {**RECIPE["data"], "resolution": "x"}
    assert _rendered(ours) == _rendered(card(words, {"x": "x"}, {"x": "x"}))
    assert not any(address in ours for address in ("http://", "https://", "www.", "a@b"))


def test_ids_in_code_stand_as_they_are() -> None:
    model = {"type": "pretrained", "id": "my_name/my_model"}
    text = card({"name": "x", "model": model, "adapter": {"type": "lora"}}, {}, {})
    assert "id: my_name/my_model, loras:" in text and 'from_pretrained("my_name/my_model")' in text
