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
