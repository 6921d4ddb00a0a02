"""The room on the disk that the plan says against what runs write."""

import re
from pathlib import Path

import pytest
from safetensors.torch import load_file

from runner.cli import main
from runner.find import document
from runner.language.recipe import read
from runner.models import toys
from runner.models.family import Facts
from runner.plan import disk, plan, shortfall
from runner.plan.training import Training
from runner.settle.settled import settle
from tests.conftest import each
from tests.training.finetune import recipe, run


@pytest.fixture
def toy(tmp_path):
    """The folder of a tiny Stable Diffusion."""
    toys.stable_diffusion(tmp_path / "toy")
    return tmp_path / "toy"


LORA = {"type": "lora", "rank": 4}
WORD = {"type": "textual_inversion", "token": "<rose>"}
OPTIMIZERS = ("adamw", "sgd", "adafactor")
KINDS = {
    "all": {},
    "average": {"ema": {"decay": 0.9}},
    **{kind: {"optimizer": {"type": kind}} for kind in OPTIMIZERS},
    "momentum": {"optimizer": {"type": "sgd", "momentum": 0.9}},
}
ADAPTERS = {"lora": LORA, "word": WORD}


def planned():
    """The plan of the recipe that `run` left in the working directory."""
    found, _ = read(document("recipe.yaml"), [])
    return plan(settle(found, offline=True, allow_pickle=False))


def tensors(folder):
    """Bytes of the weights in a folder; what stands beside them weighs nothing in models that are not toys."""
    return sum(tensor.nbytes for path in folder.rglob("*.safetensors") for tensor in load_file(path).values())


@pytest.mark.parametrize("training", each(KINDS, few=("average",)))
def test_a_checkpoint_and_the_model_are_as_large_as_planned(here, toy, training):
    steps = {"max_train_steps": 1, **KINDS[training]}
    folder = run(recipe(toy, training=steps))
    numbers = planned().training
    assert tensors(folder / "checkpoints") == pytest.approx(numbers.checkpoint, rel=0.05)
    assert tensors(folder / "model") == pytest.approx(numbers.saved, rel=0.05)


@pytest.mark.parametrize("adapter", each(ADAPTERS, few=("lora",)))
def test_an_adapter_takes_its_own_bytes_only(here, toy, adapter):
    formats = {"output": {"formats": ["diffusers", "kohya"]}} if adapter == "lora" else {}
    folder = run(recipe(toy, training={"max_train_steps": 1}, adapter=ADAPTERS[adapter], **formats))
    numbers = planned().training
    assert tensors(folder / "checkpoints") == pytest.approx(numbers.checkpoint, rel=0.05)
    assert tensors(folder / "model") == pytest.approx(numbers.saved, rel=0.05)


@pytest.mark.parametrize(
    ("every", "limit", "steps", "count"),
    [
        (500, 2, 1000, 2),
        (500, 2, 2000, 3),
        (500, 1, 20000, 2),
        (300, None, 1000, 4),
        (None, 2, 1000, 1),
        (5, 2, None, 1),
    ],
)
def test_as_many_checkpoints_are_counted_as_there_are_at_one_time(every, limit, steps, count):
    section = {"checkpointing_steps": every, "checkpoints_total_limit": limit, "sample_steps": None}
    training = Training(steps, None, None, [], 0, 0, {}, checkpoint=7, saved=3, processes=1)
    values = {"data": {"resolution": 8}, "training": section}
    taken = {"checkpoints": 7 * count, "model": 3, "samples": 0}
    assert disk.disk(values, Facts("pixel_unet", {}), training, None) == taken


def test_a_disk_that_is_too_small_is_told_before_the_first_step(here, toy, capsys, monkeypatch):
    values = recipe(toy, training={"max_train_steps": 1})
    run(values, "--dry-run")
    assert re.search(r"disk  . MiB \(checkpoints . MiB, model . MiB\) in the run's folder", capsys.readouterr().out)
    monkeypatch.setattr(disk, "free_on", lambda folder: 1000)
    assert main(["run", "recipe.yaml", "--quiet"]) == 5
    said = capsys.readouterr().err
    assert "MiB in outputs, and 1,000 bytes are free: free some space, keep fewer by" in said
    assert not list(Path("outputs").glob("*/*/log.jsonl"))
    assert main(["run", "recipe.yaml", "--dry-run"]) == 0
    assert "and 1,000 bytes are free" in capsys.readouterr().err


def test_what_a_run_has_written_already_is_not_asked_for_again(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "file").write_bytes(bytes(600))
    monkeypatch.setattr(disk, "free_on", lambda folder: 500)
    taken = {"checkpoints": 1000, "model": 0, "samples": 0}
    assert shortfall(taken, tmp_path, None) is not None
    assert shortfall(taken, tmp_path, tmp_path / "run") is None


def test_the_disk_of_a_folder_that_is_not_there_yet_is_known(tmp_path):
    assert disk.free_on(tmp_path / "new" / "newer") > 0
