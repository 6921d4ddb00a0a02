"""Recipes that are right: no problem, the meant values, and a resolved form that is its own."""

from pathlib import Path

import pytest
import yaml

from runner import shipped_files
from runner.language.load import load, parse
from runner.language.problems import render
from runner.language.recipe import read, to_yaml
from runner.language.resolve import resolve

GOOD = sorted((Path(__file__).parents[1] / "recipes" / "good").glob("*.yaml"))
SHIPPED = [path for _, _, path in shipped_files.recipes()]


@pytest.mark.parametrize("path", [*GOOD, *SHIPPED], ids=lambda path: path.stem)
def test_good_recipe(path: Path) -> None:
    recipe, warnings = read(path)
    assert render(warnings) == ""
    text = to_yaml(recipe.values, header=True)
    again, warnings = read(parse(text, "shown.yaml"))
    assert render(warnings) == ""
    assert again.values == recipe.values
    assert to_yaml(again.values, header=True) == text
    assert yaml.safe_load(text) == recipe.values  # a reader of YAML 1.1 agrees


def test_tricky_yaml_means_what_it_should() -> None:
    values = read(Path(__file__).parents[1] / "recipes" / "good" / "tricky_yaml.yaml")[0].values
    assert values["name"] == "2024-01-01.no"
    assert values["seed"] == 42
    assert values["description"] == (
        "Folded text: with a colon, a # sign, 16:9, yes and 'quotes' and ${no_variable} {{ here }}.\n"
        "A second paragraph \\U no escape."
    )
    assert values["data"]["id"] == "C:\\pictures\\new"
    assert values["data"]["max_images"] == 1000
    assert values["data"]["background"] == "#0a0B0c"
    assert values["model"]["block_out_channels"] == [32, 64, 64]
    assert values["model"]["attention_head_dim"] is None
    assert values["scheduler"]["beta_end"] == 0.02
    assert values["scheduler"]["clip_sample"] is False
    assert values["training"]["num_train_epochs"] == 3
    assert values["training"]["max_train_steps"] is None
    assert values["training"]["learning_rate"] == 1e-4


def test_numbers_get_the_type_that_the_schema_asks_for() -> None:
    text = "version: 1.0\nname: n\nmodel: {type: pretrained, id: x}\nsampling: {num_images: 4.0, guidance_scale: 2}\n"
    values = read(parse(text, "r.yaml"))[0].values
    assert type(values["version"]) is int
    assert type(values["sampling"]["num_images"]) is int
    assert type(values["sampling"]["guidance_scale"]) is float


def test_the_same_recipe_said_otherwise_is_the_same_data() -> None:
    a = "version: 1\nname: n\nseed: 3\nmodel: {type: pretrained, id: x}\nsampling: {guidance_scale: 2}\n"
    b = "sampling:\n  guidance_scale: 2.0\nmodel: {id: x, type: pretrained}\nname: n\nseed: 3.0\nversion: 1\n"
    first, second = (read(parse(text, "r.yaml"))[0].values for text in (a, b))
    assert first == second
    assert to_yaml(first, header=False) == to_yaml(second, header=False)  # the order of keys is the schema's


def test_absent_sections_stay_absent_and_groups_are_filled() -> None:
    values = read(parse("version: 1\nname: n\nmodel: {type: pretrained, id: x}\nsampling: {}\n", "r.yaml"))[0].values
    assert "training" not in values
    assert "data" not in values
    assert "scheduler" not in values["sampling"]
    assert values["compute"] == {
        "device": "auto",
        "mixed_precision": "auto",
        "channels_last": "auto",
        "eager_attention": "auto",
        "upcast_attention": "auto",
        "compile": "auto",
        "allow_tf32": "auto",
        "dtype": "auto",
        "offload": "auto",
        "attention_slicing": False,
        "vae_slicing": False,
        "vae_tiling": False,
        "dataloader_num_workers": "auto",
        "processes": 1,
        "strategy": "ddp",
    }


def test_resolving_keeps_what_the_language_does_not_know() -> None:
    assert resolve(parse("version: 1\nxyzzy: {a: [1.5, x]}\n", "r.yaml"))["xyzzy"] == {"a": [1.5, "x"]}


def test_the_largest_useful_recipe_is_read(tmp_path: Path) -> None:
    labels = ", ".join(f"flower number {i}" for i in range(10_000))
    path = tmp_path / "large.yaml"
    path.write_text(
        "version: 1\nname: many\nmodel: {type: pretrained, id: x}\n"
        + f"sampling: {{labels: [{labels}]}}\n"
        + "# padding\n" * 2000
    )
    assert load(path).problems == []
    recipe, warnings = read(path)
    assert warnings == []
    assert len(recipe.values["sampling"]["labels"]) == 10_000
