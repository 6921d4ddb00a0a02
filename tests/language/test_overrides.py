"""The command line's key=value arguments."""
# ruff: noqa: E501 (exact texts)

from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.language.load import parse
from runner.language.overrides import apply
from runner.language.problems import RecipeProblems, render
from runner.language.recipe import Recipe, read
from runner.language.schema_docs import explain

TEXT = """version: 1
name: roses
data: {type: hub, id: owner/roses, split: train, streaming: true, resolution: 32}
model: {type: pixel_unet, block_out_channels: [32, 64]}
scheduler: {type: DDPM}
training:
  max_train_steps: 100
  ema: {decay: 0.99}
sampling: {num_images: 4, noise_preview: [0, 10]}
"""


def run(*arguments: str) -> Recipe:
    recipe, _ = read(parse(TEXT, "roses.yaml"), arguments)
    return recipe


def refused(*arguments: str) -> str:
    with pytest.raises(RecipeProblems) as caught:
        run(*arguments)
    return render(caught.value.problems)


def test_values_are_yaml_and_split_at_the_first_equals_sign() -> None:
    values = run(
        "training.batch_size=8",
        "training.learning_rate=2e-5",
        "description=a = b (no list",
        "sampling.labels=null",
        "model.block_out_channels=[32, 32, 64]",
        "training.optimizer={type: sgd, momentum: 0.9}",
        "sampling.noise_preview.1=20",
        "sampling.noise_preview.2=30",
        "output.grid_columns=5",
        "data.background=#ff0000",
    ).values
    assert values["training"]["batch_size"] == 8
    assert values["training"]["learning_rate"] == 2e-5
    assert values["description"] == "a = b (no list"
    assert values["model"]["block_out_channels"] == [32, 32, 64]
    assert values["training"]["optimizer"]["momentum"] == 0.9
    assert values["sampling"]["noise_preview"] == [0, 20, 30]
    assert values["output"]["grid_columns"] == 5
    assert values["data"]["background"] == "#ff0000"


def test_the_last_of_equal_keys_holds() -> None:
    assert run("seed=1", "seed=2").values["seed"] == 2


def test_the_document_given_is_not_changed() -> None:
    document = parse(TEXT, "roses.yaml")
    before = document.data
    changed = apply(document, ["seed=5", "training.ema=", "data.type=builtin"])
    assert document.data == before
    assert document.notices == []
    assert changed.data["seed"] == 5


@pytest.mark.parametrize("argument", ["training.ema=null", "training.ema="])
def test_null_takes_a_group_away(argument: str) -> None:
    assert "ema" not in run(argument).values["training"]


def test_null_takes_a_section_away_and_an_absent_one_stays_absent() -> None:
    assert "sampling" not in run("sampling=null").values
    assert "freeze" not in run("freeze=null").values


def test_null_is_a_value_where_the_language_has_one() -> None:
    assert run("training.checkpointing_steps=").values["training"]["checkpointing_steps"] is None


def test_a_new_type_drops_the_old_ones_keys_with_a_notice() -> None:
    recipe = run("data.type=folder", "data.id=./pictures")
    assert recipe.values["data"]["id"] == "./pictures"
    assert "split" not in recipe.values["data"]
    assert recipe.values["data"]["resolution"] == 32
    assert recipe.document.notices == ["data.type=folder drops data.split, data.streaming, which only type hub has"]


def test_a_new_type_of_model_drops_what_its_sampling_does_not_have() -> None:
    text = (
        "version: 1\nname: n\nmodel: {type: pretrained, id: a/b}\nscheduler: {type: DDIM, set_alpha_to_one: true}\n"
        "sampling: {prompts: [x], num_images: 2, matrix: {seed: [1]}}\n"
    )
    changed = apply(parse(text, "r.yaml"), ["model.type=pixel_unet", "sampling.height=64"])
    assert changed.data["sampling"] == {"num_images": 2, "height": 64}
    assert changed.notices == [
        "model.type=pixel_unet drops model.id, which only type pretrained has",
        "model.type=pixel_unet drops scheduler.set_alpha_to_one, which only type pretrained has",
        "model.type=pixel_unet drops sampling.prompts, sampling.matrix, which only type pretrained has",
    ]


LISTS = """version: 1
name: lists
model:
  type: pretrained
  id: a/b
  loras: [{id: c/d}, {id: e/f, weight: 0.5}]
sampling:
  prompts: [a rose]
  matrix:
    scheduler: [{type: EulerDiscrete, use_karras_sigmas: true}, {type: DDIM}]
"""


def test_entries_of_lists_can_be_set() -> None:
    arguments = [
        "model.loras.0.weight=2",
        "model.loras.2.id=g/h",
        "model.embeddings.0.id=embed/EasyNegative",
        "sampling.prompts=[a tulip]",
        "sampling.matrix.scheduler.0.type=DDIM",
        "sampling.matrix.seed=[1, 2]",
    ]
    recipe, _ = read(parse(LISTS, "lists.yaml"), arguments)
    assert [lora["weight"] for lora in recipe.values["model"]["loras"]] == [2.0, 0.5, 1.0]
    assert recipe.values["model"]["embeddings"] == [
        {"id": "embed/EasyNegative", "file": None, "token": None, "revision": None}
    ]
    assert recipe.values["sampling"]["matrix"]["scheduler"][0] == {"type": "DDIM"}
    assert recipe.document.notices == [
        "sampling.matrix.scheduler.0.type=DDIM drops sampling.matrix.scheduler[0].use_karras_sigmas, which only type "
        "EulerDiscrete has"
    ]


def test_null_takes_an_entry_away() -> None:
    values = read(parse(LISTS, "lists.yaml"), ["model.loras.0=null", "sampling.matrix.scheduler.1="])[0].values
    assert [lora["id"] for lora in values["model"]["loras"]] == ["e/f"]
    assert [sampler["type"] for sampler in values["sampling"]["matrix"]["scheduler"]] == ["EulerDiscrete"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("model.loras.0.wieght=2", "unknown key 'wieght' in model.loras[0]: did you mean 'model.loras.0.weight'?"),
        ("lora_scale=2", "unknown key 'lora_scale': did you mean model.loras.0.weight?"),
        ("model.loras.weight=2", "model.loras has 2 entries: there is no model.loras.weight to set"),
        ("model.loras.0.weight=x", "model.loras[0].weight must be a number from -100 to 100 (got 'x')"),
    ],
)
def test_problems_in_entries_of_lists(argument: str, message: str) -> None:
    with pytest.raises(RecipeProblems) as caught:
        read(parse(LISTS, "lists.yaml"), [argument])
    assert [p.message for p in caught.value.problems] == [message]
    assert caught.value.problems[0].file == "command line"


def test_paths_on_the_command_line_are_relative_to_the_working_directory(tmp_path: Path) -> None:
    file = tmp_path / "roses.yaml"
    file.write_text(TEXT)
    recipe, _ = read(file, ["data.type=folder"])
    assert recipe.folder_of(("data", "id")) == tmp_path
    recipe, _ = read(file, ["data={type: folder, id: x}"])
    assert recipe.folder_of(("data", "id")) == Path.cwd()
    assert recipe.folder_of(("data", "background")) == tmp_path  # a default


@pytest.mark.parametrize(
    "argument", ["training.batch_size", "=5", "training..x=1", "training batch=1", "", ".=1", "{a: 1}"]
)
def test_what_is_no_override_is_a_usage_error(argument: str) -> None:
    with pytest.raises(UsageError, match=r"is no key=value: write it as training\.batch_size=8"):
        run(argument)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["training.batch_size=0"],
            """command line:1:21: training.batch_size must be a whole number from 1 to 65536 (got 0)  [range]
   |
 1 | training.batch_size=0
   |                     ^""",
        ),
        (
            ["seed=1", "trainig.batch_size=4"],
            """command line:2:1: unknown key 'trainig': did you mean 'training'?  [unknown-key]
   |
 2 | trainig.batch_size=4
   | ^^~~~~~""",
        ),
        (
            ["lr=1e-4"],
            """command line:1:1: unknown key 'lr': did you mean training.learning_rate?  [unknown-key]
   |
 1 | lr=1e-4
   | ^^""",
        ),
        (
            ["batch_size=4"],
            """command line:1:1: unknown key 'batch_size': did you mean training.batch_size or sampling.batch_size?  [unknown-key]
   |
 1 | batch_size=4
   | ^^~~~~~~~~""",
        ),
        (
            ["training.lr=1e-4"],
            """command line:1:10: unknown key 'lr' in training: did you mean 'training.learning_rate'?  [unknown-key]
   |
 1 | training.lr=1e-4
   |          ^^""",
        ),
        (
            ["sampling.labels=[a, b"],
            """command line:1:17: '[' is not closed: expected ',' or ']' before the end of the text  [syntax]
   |
 1 | sampling.labels=[a, b
   |                 ^""",
        ),
        (
            ["training.learning_rate=!!float 1"],
            """command line:1:24: tags ('!!float') are not allowed: remove it, or put text with '!' in quotes  [tag]
   |
 1 | training.learning_rate=!!float 1
   |                        ^^~~~~~""",
        ),
        (
            ["compute.dataloader_num_workers=1.5"],
            """command line:1:32: compute.dataloader_num_workers must be a whole number from 0 to 256 or 'auto' (got 1.5): write 2  [type]
   |
 1 | compute.dataloader_num_workers=1.5
   |                                ^^~""",
        ),
        (
            ["model.num_class_embeds=0.3"],
            """command line:1:24: model.num_class_embeds must be a whole number >= 1, 'auto' or null (got 0.3)  [type]
   |
 1 | model.num_class_embeds=0.3
   |                        ^^~""",
        ),
        (
            ["compute.dataloader_num_workers=.nan"],
            """command line:1:32: compute.dataloader_num_workers must be a finite number (got .nan)  [finite]
   |
 1 | compute.dataloader_num_workers=.nan
   |                                ^^~~""",
        ),
        (
            ["training.batch_size.x=1"],
            """command line:1:10: training.batch_size must be a whole number from 1 to 65536 (got a mapping)  [type]
   |
 1 | training.batch_size.x=1
   |          ^^~~~~~~~~""",
        ),
        (
            ["name.x=1"],
            """command line:1:6: name is not a mapping: there is no name.x to set  [override]
   |
 1 | name.x=1
   |      ^""",
        ),
        (
            ["sampling.noise_preview.7=1"],
            """command line:1:24: sampling.noise_preview has 2 entries: there is no sampling.noise_preview[7] to set  [override]
   |
 1 | sampling.noise_preview.7=1
   |                        ^""",
        ),
        (
            ["data.type=folder", "data.split=test"],
            """command line:2:6: unknown key 'split' in data: it is a key of type hub, and this is folder  [unknown-key]
   |
 2 | data.split=test
   |      ^^~~~""",
        ),
        (
            ["training.max_train_steps="],
            """roses.yaml:6:1: training needs its length: give max_train_steps or num_train_epochs  [steps-or-epochs]
   |
 6 | training:
   | ^^~~~~~~""",
        ),
        (
            ["training.batch_size=null"],
            """command line:1:21: training.batch_size must be a whole number from 1 to 65536 (got null): give a value, or remove the line for the default  [type]
   |
 1 | training.batch_size=null
   |                     ^^~~""",
        ),
        (
            ["data.type=folder", "data.id="],
            """command line:2:6: data.id must be text (got nothing): give a value  [type]
   |
 2 | data.id=
   |      ^^""",
        ),
        (
            ["name=a\x1b[2Jb"],
            """command line:1:7: control character U+001B (shown as \\x1b): remove it  [control-character]
   |
 1 | name=a\\x1b[2Jb
   |       ^^~~""",
        ),
        (
            ["sampling.guidance_scale=3", "data.resolution=33"],
            """command line:1:25: guidance needs classes: give model.num_class_embeds: auto, or leave guidance_scale at 1  [guidance]
   |
 1 | sampling.guidance_scale=3
   |                         ^
command line:2:17: data.resolution 33 is not a multiple of 2: 2 levels halve it 1 time; nearest 32 or 34  [resolution]
   |
 2 | data.resolution=33
   |                 ^^""",
        ),
    ],
)
def test_problems_point_into_the_argument(arguments: list[str], expected: str) -> None:
    assert refused(*arguments) == expected


def test_the_files_problems_come_before_the_command_lines() -> None:
    text = TEXT.replace("max_train_steps: 100", "max_train_steps: 0")
    with pytest.raises(RecipeProblems) as caught:
        read(parse(text, "z.yaml"), ["seed=-1"])
    assert [p.file for p in caught.value.problems] == ["z.yaml", "command line"]


def test_a_value_of_several_lines_keeps_its_places() -> None:
    recipe = run("training.optimizer=type: sgd\nmomentum: 0.5")
    assert recipe.values["training"]["optimizer"]["momentum"] == 0.5
    text = refused("training.optimizer=type: sgd\nmomentum: 5")
    assert "momentum must be a number from 0 to 0.9999 (got 5)" in text


def test_every_key_can_be_asked_for_where_it_is_overridden() -> None:
    assert explain("training.optimizer.sgd").startswith("Stochastic gradient descent")
