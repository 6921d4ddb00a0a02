"""Rows CKP: runs that were cut off, and checkpoints that are damaged, old, new or in use.

Kills at every moment, stops at every step and damage of every file are in tests/faults.
"""

import errno
import json
import os
import socket
import time
from pathlib import Path
from unittest.mock import patch

from runner.outputs import lock
from runner.outputs.folder import RunFolder
from runner.training import checkpoints, origin
from tests.corpus.table import Outcome, case, recipe, run, toy, write
from tests.faults.runs import differing, made, newest, stopped_after
from tests.processes import forked
from tests.several.crew import ends

TRAINING = {"max_train_steps": 4, "checkpointing_steps": 1, "ema": {"decay": 0.9}, "sample_steps": 2}
RECIPE = toy(training=TRAINING)


def stopped(steps=2, recipe=RECIPE):
    """The folder of a run that was stopped after some steps."""
    with stopped_after(steps):
        assert run(recipe, "--quiet").code == 143
    return newest(Path.cwd())


def ends_alike(folder):
    """The same command goes on, and ends with what it would have left had nothing happened."""
    outcome = recipe("run", "recipe.yaml")
    assert recipe("run", "recipe.yaml", "--output-dir", "elsewhere").code == 0
    assert differing(newest(folder), made(folder / "elsewhere" / "toy" / "001")) == []
    return outcome


def running(folder):
    """The run in a process of its own."""
    write(RECIPE)
    return forked(folder, "run", "recipe.yaml")


@case(
    "CKP01", "SIGKILL after a checkpoint", exits=0, says="took over the lock .*\n(.*\n)*going on from step [1-4] of 4"
)
def _(folder):
    with running(folder) as process:
        process.wait_for(folder / "outputs/toy/001/checkpoints/step-000001")
        process.kill()
    return ends_alike(folder)


@case("CKP03", "stopped at step 2 of 4", exits=0, says="going on from step 2 of 4", slow=True)
def _(folder):
    stopped()
    return ends_alike(folder)


@case(
    "CKP04",
    "the newest is damaged",
    exits=0,
    says=r"step-000002 is damaged: the sha256 of ema.safetensors differs; an",
    slow=True,
)
def _(folder):
    file = stopped() / "checkpoints" / "step-000002" / "ema.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    return ends_alike(folder)


@case("CKP04", "all are damaged", exits=7, says="is damaged: .* no whole one is left: start anew with --fresh")
def _(folder):
    run_folder = stopped()
    for file in run_folder.glob("checkpoints/*/state.json"):
        file.write_bytes(b"")
    before = sorted(run_folder.glob("checkpoints/*/*"))
    outcome = recipe("run", "recipe.yaml")
    assert sorted(run_folder.glob("checkpoints/*/*")) == before
    return outcome


@case("CKP06", "a second start beside a run that runs", exits=0, says="outputs/toy/002", slow=True)
def _(folder):
    with running(folder) as first:
        first.wait_for(folder / "outputs/toy/001/log.jsonl")
        outcome = recipe("run", "recipe.yaml")
        assert first.wait() == 0
    first, second = (folder / "outputs" / "toy" / number for number in ("001", "002"))
    assert differing(second, made(first)) == []
    return outcome


@case("CKP06", "two that would go on with one run", exits=5, says="in use by process [0-9]+ on .* since 20")
def _(folder):
    first = stopped()
    before = made(first)
    with RunFolder(first).lock(), patch.object(lock, "is_held", return_value=False):
        outcome = recipe("run", "recipe.yaml")
    assert differing(first, before) == []
    return outcome


def left_by(host):
    """A lock that a process on this host has left behind in a run's folder."""
    text = json.dumps({"pid": 2**22 + 1, "host": host, "since": "2024-01-01T00:00:00+00:00"})
    (stopped() / "lock").write_text(text)


@case(
    "CKP07",
    "the lock of a dead process",
    exits=0,
    says="took over the lock of process 4194305 on .* since 2024-01-01",
    slow=True,
)
def _(folder):
    left_by(socket.gethostname())
    return recipe("run", "recipe.yaml")


@case("CKP07", "a lock from another host", exits=5, says="in use by process 4194305 on elsewhere .* delete .*lock")
def _(folder):
    left_by("elsewhere")
    return recipe("run", "recipe.yaml")


@case("CKP09", "checkpoints_total_limit: 1, and a save that fails", exits=5, says="step 3 could not be .*No space left")
def _(folder):
    kept = stopped(recipe=toy(training={**TRAINING, "checkpoints_total_limit": 1})) / "checkpoints"
    with patch.object(checkpoints, "save_file", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        outcome = recipe("run", "recipe.yaml")
    assert [path.name for path in kept.iterdir()] == ["step-000002"]
    assert ends_alike(folder).code == 0
    return outcome


def of_a_format(number):
    """What becomes of a run whose checkpoint was written in another format."""
    with patch.object(checkpoints, "FORMAT", number):
        stopped()
    return recipe("run", "recipe.yaml")


@case("CKP10", "of a newer recipe", exits=7, says="step-000002 was written by a newer recipe: update recipe")
def _(folder):
    return of_a_format(checkpoints.FORMAT + 1)


@case("CKP10", "of an older recipe", exits=7, says="step-000002 was written by an older recipe, .* --fresh", slow=True)
def _(folder):
    return of_a_format(checkpoints.FORMAT - 1)


@case("CKP10", "another torch", exits=0, says=r"going on from step 2; close, not bitwise equal: torch 2\.1 ")
def _(folder):
    with patch.object(origin, "versions", return_value={**origin.versions(), "torch": "2.1"}):
        stopped()
    return recipe("run", "recipe.yaml")


@case("CKP10", "another device", exits=0, says="close, not bitwise equal: device cpu .NVIDIA H100. ", slow=True)
def _(folder):
    with patch.object(origin, "hardware", return_value="NVIDIA H100"):
        stopped()
    return recipe("run", "recipe.yaml")


@case("CKP10", "another number of workers", exits=0, says="going on from step 2 of 4", slow=True)
def _(folder):
    stopped()
    outcome = recipe("run", "recipe.yaml", "compute.dataloader_num_workers=2", "--allow-changes")
    assert "close, not bitwise" not in outcome.text and newest(folder).name == "001"
    return outcome


@case("CKP10", "another world size", exits=0, says=r"going on from step 2; close, .* processes .* → 2\n", slow=True)
def _(folder):
    stopped()
    codes, said = ends(folder, 2, "run", "recipe.yaml")
    assert codes == [0, 0] and said[1] == "" and newest(folder).name == "001"
    return Outcome(codes[0], said[0])


@case("CKP12", "the clock set back by a year, in another zone and language", exits=0, says="going on from step 3 of 4")
def _(folder):
    run_folder, now = stopped(3), time.time()
    os.utime(run_folder / "checkpoints" / "step-000002", (now + 9e6, now + 9e6))
    a_year_ago = patch("time.time", lambda: now - 365 * 86400)
    with a_year_ago, patch.dict(os.environ, {"TZ": "Asia/Tokyo", "LC_ALL": "tr_TR.UTF-8", "LANG": "de_DE.UTF-8"}):
        time.tzset()
        outcome = ends_alike(folder)
    time.tzset()
    return outcome
