"""Checkpoints: whole or not at all, and damage is found."""

import errno
import os

import pytest
import torch
from safetensors import SafetensorError

from runner.errors import CheckpointError, EnvironmentFault
from runner.training import checkpoints
from runner.training.checkpoints import Checkpoint
from runner.training.state import load_parameters


def checkpoint(step):
    tensors = {"parameters": {"w": torch.full((3,), float(step))}, "optimizer": {"0.exp_avg": torch.zeros(2)}}
    return Checkpoint(step, tensors, {"note": "ü", "step_count": step})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_loaded(tmp_path):
    path = checkpoints.save(tmp_path, checkpoint(7), None)
    loaded = checkpoints.load(path)
    assert (loaded.step, loaded.values) == (7, {"note": "ü", "step_count": 7})
    assert torch.equal(loaded.tensors["parameters"]["w"], torch.full((3,), 7.0))


def test_only_the_newest_are_kept_in_the_order_of_steps(tmp_path):
    for step in (900, 1000, 1100, 1_000_000):
        checkpoints.save(tmp_path, checkpoint(step), 2)
    assert names(tmp_path) == ["step-001100", "step-1000000"]


@pytest.mark.parametrize("file", ["parameters.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_found_and_the_older_one_is_taken(tmp_path, file, damage):
    checkpoints.save(tmp_path, checkpoint(1), None)
    path = checkpoints.save(tmp_path, checkpoint(2), None) / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "flip":
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[:-3])
    else:
        path.unlink()
    with pytest.raises(CheckpointError, match="step-000002 is damaged"):
        checkpoints.load(path.parent)
    found, damaged = checkpoints.newest(tmp_path)
    assert found.step == 1
    assert len(damaged) == 1


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        ("_sync", OSError(errno.ENOSPC, "No space left on device")),
        ("save_file", SafetensorError("I/O error: No space left on device (os error 28)")),
    ],
)
def test_a_full_disk_leaves_the_older_one(tmp_path, monkeypatch, where, fault):
    checkpoints.save(tmp_path, checkpoint(1), 1)

    def full(*_):
        raise fault

    monkeypatch.setattr(checkpoints, where, full)
    with pytest.raises(EnvironmentFault, match="No space left"):
        checkpoints.save(tmp_path, checkpoint(2), 1)
    assert names(tmp_path) == ["step-000001"]
    assert checkpoints.newest(tmp_path)[0].step == 1


def test_a_draft_left_by_a_kill_is_not_a_checkpoint(tmp_path):
    checkpoints.save(tmp_path, checkpoint(1), None)
    (tmp_path / ".tmp-step-000002").mkdir()
    assert checkpoints.newest(tmp_path)[0].step == 1
    checkpoints.save(tmp_path, checkpoint(2), None)
    assert names(tmp_path) == ["step-000001", "step-000002"]


def test_nothing_there_is_nothing_found(tmp_path):
    assert checkpoints.newest(tmp_path / "none") == (None, [])


def test_the_newest_is_by_step_whatever_the_clock_says(tmp_path):
    for step in (2, 10):
        path = checkpoints.save(tmp_path, checkpoint(step), None)
        os.utime(path, (2_000_000_000 - step, 2_000_000_000 - step))
    assert checkpoints.newest(tmp_path)[0].step == checkpoints.reached(tmp_path) == 10
    assert checkpoints.reached(tmp_path / "none") == 0


def test_older_ones_stay_until_the_new_one_was_read_back(tmp_path, monkeypatch):
    checkpoints.save(tmp_path, checkpoint(1), 1)

    def sync_badly(folder):
        """The disk spoils what was renamed."""
        if (path := folder / "step-000002" / "parameters.safetensors").exists():
            path.write_bytes(path.read_bytes()[:-1] + b"\xff")

    monkeypatch.setattr(checkpoints, "sync_folder", sync_badly)
    with pytest.raises(EnvironmentFault, match=r"the sha256 of parameters\.safetensors differs"):
        checkpoints.save(tmp_path, checkpoint(2), 1)
    assert checkpoints.newest(tmp_path)[0].step == 1


@pytest.mark.parametrize(("form", "sentence"), [(2, "by a newer recipe: update recipe"), (0, "by an older recipe")])
def test_another_form_is_not_called_damaged_and_no_older_one_is_taken(tmp_path, monkeypatch, form, sentence):
    checkpoints.save(tmp_path, checkpoint(1), None)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "FORMAT", form)
        checkpoints.save(tmp_path, checkpoint(2), None)
    with pytest.raises(CheckpointError, match=f"step-000002 was written {sentence}"):
        checkpoints.newest(tmp_path)


def test_a_folder_that_is_gone_is_not_made_again(tmp_path):
    with pytest.raises(EnvironmentFault, match="step 1 could not be written"):
        checkpoints.save(tmp_path / "run" / "checkpoints", checkpoint(1), None)
    assert names(tmp_path) == []


@pytest.mark.parametrize("saved", [{"a": torch.ones(2)}, {"a": torch.ones(3), "b": torch.ones(1)}, {}])
def test_tensors_of_another_model_are_a_sentence(saved):
    with pytest.raises(CheckpointError, match=r"of another model: 1 of its tensors .* \([ab]\): start anew"):
        load_parameters({"a": torch.zeros(3)}, saved)
