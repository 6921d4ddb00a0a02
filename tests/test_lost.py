"""Runs that go on although parts of what they left are lost, damaged or were edited: each is said."""

import json
import os
import shutil
import signal

import pytest

from runner.errors import Interrupted
from runner.outputs.folder import RunFolder
from runner.training import checkpoints
from tests.tiny import lay, logged, recipe, runs, stopped_at

RECORDS = ['{"state": "xyz"}', '{"state": [1]}', '{"state": "failed", "exit_code": [], "sessions": []}']


@pytest.fixture
def run(here):
    """The folder of a run that was stopped at step 3."""
    lay(here)
    stopped_at(3)
    return here / "outputs" / "tiny" / "001"


@pytest.mark.parametrize("named", [(), ("outputs/tiny/001",)])
@pytest.mark.parametrize("text", ["", "{", "[]", *RECORDS])
def test_a_damaged_record_is_said_before_a_new_run_begins(here, run, named, text, capsys):
    (run / "run.json").write_text(text)
    capsys.readouterr()
    assert recipe(*named, "training.max_train_steps=1") == 0
    assert (
        "tiny/001/run.json is missing or damaged, so that run cannot go on: this is a new run"
        in capsys.readouterr().err
    )
    assert runs(here) == ["001", "002"]


@pytest.mark.parametrize("sessions", ["5", "[5]", "{}", "[{}]"])
def test_an_edited_record_is_damaged(run, sessions, capsys):
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "sessions": json.loads(sessions)}))
    assert recipe() == 0
    assert "run.json is missing or damaged" in capsys.readouterr().err


def test_a_missing_record_beside_checkpoints_is_said(here, run, capsys):
    (run / "run.json").unlink()
    assert recipe() == 0
    assert "run.json is missing or damaged" in capsys.readouterr().err
    assert runs(here) == ["001", "002"]


def test_a_run_that_is_at_work_is_not_begun_twice_by_its_name(here, run, capsys):
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "state": "running"}))
    with RunFolder(run).lock():
        capsys.readouterr()
        assert recipe("outputs/tiny/001") == 5
        assert f"is in use by process {os.getpid()}" in capsys.readouterr().err
        assert recipe("training.max_train_steps=1") == 0
        assert "tiny/001 is still running: this is a new run" in capsys.readouterr().err
    assert runs(here) == ["001", "002"]


@pytest.mark.parametrize("limit", ["1", "2", "null"])
def test_a_stop_after_a_damaged_checkpoint_keeps_what_it_saves(here, limit, capsys):
    lay(here)
    every = ("training.checkpointing_steps=2", f"training.checkpoints_total_limit={limit}")
    stopped_at(4, "training.checkpointing_steps=2", "training.checkpoints_total_limit=2")
    folder = here / "outputs" / "tiny" / "001" / "checkpoints"
    with (folder / "step-000004" / "state.json").open("a") as file:
        file.write("x")
    stopped_at(1, *every, "--allow-changes")
    kept = {path.name for path in folder.iterdir()}
    assert kept == {"step-000003"} | ({"step-000002"} if limit != "1" else set())
    capsys.readouterr()
    assert recipe(*every) == 0
    assert "going on from step 3 of 6" in capsys.readouterr().err


def test_lost_checkpoints_are_said_before_the_steps_are_made_again(here, run, capsys):
    before = logged(here)
    shutil.rmtree(run / "checkpoints")
    with (run / "log.jsonl").open("a") as file:
        file.write('{"step": "edited", "loss": 0}\n')
    capsys.readouterr()
    assert recipe() == 0
    err = capsys.readouterr().err
    assert "the log reaches step 3, but no checkpoint is there: beginning again at step 0" in err
    assert [line for line in logged(here) if line[0] != "edited"][:3] == before
    assert runs(here) == ["001"]


def test_a_folder_without_a_checkpoint_in_it_is_no_step(here, run, capsys):
    (run / "checkpoints" / "step-000009").mkdir()
    (run / "checkpoints" / "step-000009" / "state.json").write_text("{}")
    assert recipe("training.max_train_steps=5", "--allow-changes") == 0
    assert "step-000009 is damaged" in capsys.readouterr().err


def test_a_refusal_is_not_told_as_going_on(run, capsys):
    assert recipe("training.max_train_steps=2", "--allow-changes") == 7
    err = capsys.readouterr().err
    assert "past the 2 that are asked for" in err and "going on" not in err


@pytest.mark.parametrize(
    "edited",
    [
        {"data": None},
        {"made_with": None},
        {"optimizer": None},
        {"optimizer": {"numbers": [], "param_groups": {}}},
        {"lr_scheduler": []},
        {"batch_size": 0},
        {"scaler": 1, "step": "x"},
    ],
    ids=str,
)
def test_an_edited_state_whose_manifest_fits_is_no_bug(here, run, edited, capsys):
    checkpoint = run / "checkpoints" / "step-000003"
    state = json.loads((checkpoint / "state.json").read_text())
    (checkpoint / "state.json").write_text(json.dumps({**state, **edited}))
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["state.json"] = checkpoints._sha256(checkpoint / "state.json")
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    capsys.readouterr()
    assert recipe() == 7
    err = capsys.readouterr().err
    assert "start anew with --fresh" in err and "Traceback" not in err


def test_a_signal_while_a_checkpoint_is_read_is_no_damage_to_it(run, monkeypatch, capsys):
    plain = checkpoints.load_file

    def signalled(path):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            return plain(path)
        except Interrupted:  # as torch does
            raise AttributeError("could not determine the shape of an object") from None

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "load_file", signalled)
        assert recipe() == 143
    said = capsys.readouterr().err
    assert "damaged" not in said and "the same command goes on with" in said
    assert recipe() == 0
    assert [step for step, _ in logged(run.parents[2])] == list(range(1, 7))
