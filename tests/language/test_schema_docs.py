"""What `recipe schema` prints."""

import json

import pytest

from runner.errors import UsageError
from runner.language import schemas
from runner.language.schema_docs import explain


def test_a_key_has_meaning_range_default_and_other_names() -> None:
    assert explain("training.batch_size") == (
        "training.batch_size\n"
        "    Pictures in one forward pass.\n"
        "    a whole number from 1 to 65536; default 16\n"
        "    elsewhere called train_batch_size, bs, batch, micro_batch_size"
    )


def test_a_section_lists_its_keys_and_what_absence_means() -> None:
    text = explain("training")
    assert text.startswith("How the model learns.\nAbsent: ")
    assert "\ntraining.learning_rate\n" in text
    assert "recipe schema training.ema" in text


def test_a_section_with_types_lists_them_and_each_can_be_asked_for() -> None:
    text = explain("data")
    assert "type: folder\n    A folder of image files on disk.\n    keys: id," in text
    assert "\ndata.on_error\n" in explain("data.folder")
    assert "\nsampling.scheduler.use_karras_sigmas\n" in explain("sampling.scheduler.EulerDiscrete")


def test_sampling_goes_by_the_models_type(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    text = explain("sampling")
    assert "\nwith model.type: pixel_unet\n" in text and "\nwith model.type: pretrained\n" in text
    assert text.endswith("Each type's keys explained: recipe schema sampling.pretrained")
    assert "\nsampling.prompts\n" in explain("sampling.pretrained")
    assert "sampling.prompts" not in explain("sampling.pixel_unet")
    assert explain("sampling.num_images").splitlines()[::5] == [
        "sampling.num_images, with model.type: pixel_unet",
        "sampling.num_images, with model.type: pretrained",
    ]
    assert explain("sampling.seed").count("sampling.seed") == 1  # the same for both
    assert explain("sampling.strength").startswith("sampling.strength, with model.type: pretrained\n")


def test_a_list_of_mappings_explains_its_entries() -> None:
    text = explain("model.loras")
    assert text.startswith("model.loras, with type: pretrained\n    LoRAs laid over the model")
    assert "a list (each entry a section of 'key: value' lines); default []" in text
    assert "\nEach entry of model.loras:\n\n- id\n" in text
    assert explain("model.loras.weight") == explain("model.loras.0.weight").replace("loras.0", "loras")
    assert "\ntype: EulerDiscrete\n" in explain("sampling.matrix.scheduler")
    assert "use_karras_sigmas" in explain("sampling.matrix.scheduler.EulerDiscrete")


def test_every_key_of_the_language_can_be_explained() -> None:
    for path, places in schemas.sections():
        for key in schemas.properties(places):
            name = ".".join(map(str, (*path, key)))
            assert explain(name), name
            json.loads(explain(name, "json"))
    assert explain(None).startswith("A diffusion run in one file")
    assert json.loads(explain(None, "json"))


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("trainig", "did you mean training?"),
        ("training.lr", "did you mean training.learning_rate?"),
        ("data.xyzzy", "there are type,"),
        ("training.batch_size.x", "training.batch_size has no keys"),
        ("x\x1b", "no key 'x\\\\x1b'"),
    ],
)
def test_an_unknown_key_is_a_usage_error(key: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint.replace("?", r"\?")):
        explain(key)


@pytest.mark.parametrize(("columns", "most"), [("60", 60), ("5", 40), ("500", 100)])
def test_lines_are_as_wide_as_the_terminal_and_no_wider_than_is_good_to_read(
    monkeypatch: pytest.MonkeyPatch, columns: str, most: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert most - 15 < max(map(len, explain("compute.offload").splitlines())) <= most
