"""Rows ENV: signals, disks, folders, devices, memory, processes and terminals that fail or are missing.

Signals and full disks at every moment are in tests/faults, displays of every kind in tests/test_progress.py.
"""

import errno
import io
import os
import re
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import psutil
import torch

from runner.cli import main
from runner.outputs.samples import Samples
from runner.plan import disk
from runner.training import checkpoints, stage
from runner.training.keeper import Keeper
from tests.corpus.table import Outcome, case, not_here, recipe, run, toy, write
from tests.faults.runs import differing, made, newest, reached, saved, stopped_after

RECIPE = toy(training={"max_train_steps": 4, "checkpointing_steps": 2, "checkpoints_total_limit": 1, "sample_steps": 2})


def before(owner, name, act):
    """`act` happens before the first call of a function of a class or a module."""
    function, acts = getattr(owner, name), [act]

    def acting(*arguments, **options):
        if acts:
            acts.pop()()
        return function(*arguments, **options)

    return patch.object(owner, name, acting)


def refused(owner, name, number):
    """The system refuses all calls of a function."""
    return patch.object(owner, name, side_effect=OSError(number, os.strerror(number)))


def terminated():
    signal.raise_signal(signal.SIGTERM)


def goes_on(folder):
    """No step is lost, and the same command ends with what it would have left had nothing happened."""
    assert saved(newest(folder)) == reached(newest(folder))
    assert recipe("run", "recipe.yaml", "--quiet").code == 0
    assert recipe("run", "recipe.yaml", "--quiet", "--output-dir", "elsewhere").code == 0
    assert differing(newest(folder), made(folder / "elsewhere" / "toy" / "001")) == []


STOPPED = "stopped at step {} of 4, its state is saved: the same command goes on with outputs/toy/001"


@case("ENV01", "SIGTERM in mid-step", exits=143, says=STOPPED.format(3), slow=True)
def _(folder):
    with stopped_after(3):
        outcome = run(RECIPE)
    goes_on(folder)
    return outcome


@case("ENV01", "SIGTERM in mid-save", exits=143, says=STOPPED.format(2))
def _(folder):
    with before(checkpoints, "save_file", terminated):
        outcome = run(RECIPE)
    goes_on(folder)
    return outcome


@case("ENV01", "SIGTERM while a grid is drawn", exits=143, says=STOPPED.format(2), slow=True)
def _(folder):
    with before(Samples, "step_grid", terminated):
        outcome = run(RECIPE)
    goes_on(folder)
    return outcome


@case(
    "ENV01",
    "SIGTERM while samples are drawn",
    exits=143,
    says="the same command goes on with outputs/toy/001",
    slow=True,
)
def _(folder):
    with before(Samples, "single", terminated):
        outcome = run(RECIPE)
    goes_on(folder)
    return outcome


def full_disk(owner, name):
    """A disk that is full when the second checkpoint is written; the first stays."""
    with stopped_after(2):
        run(RECIPE)
    with refused(owner, name, errno.ENOSPC):
        outcome = recipe("run", "recipe.yaml")
    assert [path.name for path in Path("outputs/toy/001/checkpoints").iterdir()] == ["step-000002"]
    return outcome


FULL = r"step 4 could not be written to .* \(.*No space left on device\): make room .* run the same command again"


@case("ENV03", "no room at a checkpoint's write", exits=5, says=FULL)
def _(folder):
    outcome = full_disk(checkpoints, "save_file")
    recipe("run", "recipe.yaml", "--quiet")
    goes_on(folder)
    return outcome


@case("ENV03", "no room at a checkpoint's fsync", exits=5, says=FULL, slow=True)
def _(folder):
    return full_disk(checkpoints, "_sync")


@case("ENV03", "no room at a checkpoint's rename", exits=5, says=FULL, slow=True)
def _(folder):
    return full_disk(Path, "rename")


@case(
    "ENV03",
    "too little room, told before step 1",
    exits=5,
    says="the run needs .* in outputs, and 1,000 bytes are free: ",
)
def _(folder):
    with patch.object(disk, "free_on", return_value=1000):
        outcome = run(RECIPE)
    assert not Path("outputs").exists()
    return outcome


IN_THE_WAY = "cannot write .*: a part of the path is a file, not a folder; mend that, or choose another .* --output-dir"


@case("ENV04", "a file where the outputs should go", exits=5, says=IN_THE_WAY)
def _(folder):
    Path("outputs").write_text("mine")
    outcome = run(RECIPE)
    assert Path("outputs").read_text() == "mine"
    return outcome


@case("ENV04", "read-only outputs", exits=5, says="cannot write outputs/toy: the file system is read-only; mend .*")
def _(folder):
    with refused(os, "mkdir", errno.EROFS):
        return run(RECIPE)


@case("ENV04", "a read-only cache", exits=5, says="cache.* cannot be written in .*--cache-dir")
def _(folder):
    Path("taken").write_text("")
    return run(RECIPE, "--cache-dir", "taken/cache")


@case("ENV04", "no home: HOME is a file", exits=5, says="cache.* cannot be written in .*--cache-dir")
def _(folder):
    Path("home").write_text("")
    with patch.dict(os.environ, {"HOME": str(folder / "home")}):
        del os.environ["XDG_CACHE_HOME"]
        return run(RECIPE)


@case("ENV04", "no home that anyone knows", exits=5, says="no home folder: name a folder .* with --cache-dir")
def _(folder):
    with patch.dict(os.environ), patch.object(Path, "home", side_effect=RuntimeError):
        del os.environ["XDG_CACHE_HOME"]
        return run(RECIPE)


@case(
    "ENV04", "no temporary folder for a rehearsal", exits=5, says="no temporary folder can be made .* let TMPDIR name"
)
def _(folder):
    with patch.object(tempfile, "tempdir", "nowhere"):
        return run(RECIPE, "--smoke")


@case("ENV06", "cuda asked of a machine without", exits=5, says="cuda is not on this machine .*: write auto or cpu")
def _(folder):
    with patch.object(torch.cuda, "is_available", return_value=False):
        outcome = run(RECIPE, "compute.device=cuda")
    assert not Path("outputs").exists()
    return outcome


not_here("ENV06", "a driver that is too old is as no GPU to torch: the same sentence; recipe doctor names the driver")


def without_room(error, step, *arguments):
    """A run in which micro-batches of more than one sample find no memory from this step on."""

    def found(kind):
        objective = stage_objective(kind)

        def tried(family, batch, training):
            if len(batch) > 1 and batch.first >= 2 * (step - 1):
                raise error
            return objective(family, batch, training)

        return tried

    stage_objective = stage.objective_of
    with patch.object(stage, "objective_of", found):
        return run(RECIPE, *arguments)


SMALLER = r"out of memory; .*training\.batch_size=1 training\.gradient_accumulation_steps=2"


@case("ENV07", "no device memory at step 1", exits=5, says=SMALLER)
def _(folder):
    return without_room(torch.OutOfMemoryError("CUDA out of memory"), 1)


@case("ENV07", "no memory of the machine at step 3", exits=5, says="the machine is " + SMALLER, slow=True)
def _(folder):
    outcome = without_room(MemoryError(), 3)
    goes_on(folder)
    return outcome


@case("ENV07", "on_oom: shrink", exits=0, says="batch_size 2 .* 1, gradient_accumulation_steps 1 .* 2; the same")
def _(folder):
    outcome = without_room(torch.OutOfMemoryError("CUDA out of memory"), 1, "training.on_oom=shrink")
    assert run(RECIPE, "training.batch_size=1", "training.gradient_accumulation_steps=2").code == 0
    shrunk, small = (made(folder / "outputs" / "toy" / number) for number in ("001", "002"))
    weights = "model/unet/diffusion_pytorch_model.safetensors"
    assert shrunk[weights] == small[weights]
    return outcome


not_here("ENV07", "the kernel's OOM killer sends SIGKILL: row CKP01")


@case("ENV09", "two workers: no process, no shared memory", exits=0)
def _(folder):
    def around():
        return {child.pid for child in psutil.Process().children()}, sorted(Path("/dev/shm").glob("*"))

    there, seen = around(), []
    with patch.object(Keeper, "stepped", lambda keeper: seen.append(around())):
        outcome = run(RECIPE, "compute.dataloader_num_workers=2")
    assert seen == [there] * 4
    return outcome


not_here("ENV09", "workers are threads: none can be killed alone, and none fills /dev/shm")


def written_to(stdout, *arguments):
    """The exit code of a command with another stdout."""
    with patch.object(sys, "stdout", stdout):
        return main([*map(str, arguments)])


def _closed_pipe():
    """A stream that nobody reads."""
    ours, theirs = os.pipe()
    os.close(ours)
    return os.fdopen(theirs, "w")


def on_terminal(**environment):
    """The run with a pseudo terminal for its stderr."""
    ours, theirs = os.openpty()
    seen = bytearray()

    def read():
        with suppress(OSError):  # as Linux tells that the other end is closed
            while part := os.read(ours, 4096):
                seen.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(theirs, "w") as stderr, patch.object(sys, "stderr", stderr), patch.dict(os.environ, environment):
        code = main(["run", str(write(RECIPE))])
    reader.join()
    os.close(ours)
    return Outcome(code, seen.decode())


@case("ENV10", "recipe run | true", exits=0)
def _(folder):
    code = written_to(_closed_pipe(), "run", write(RECIPE))
    assert reached(newest(folder)) == 4
    return Outcome(code, "")


@case("ENV10", "recipe show | true", exits=141)
def _(folder):
    return Outcome(written_to(_closed_pipe(), "show", write(RECIPE)), "")


@case("ENV10", "PYTHONIOENCODING=ascii", exits=0, says=r"description: .*Bl.*ten")
def _(folder):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    code = written_to(stream, "show", write({**RECIPE, "description": "Blüten 🌸"}))
    return Outcome(code, stream.buffer.getvalue().decode("ascii"))


@case("ENV10", "TERM=dumb", exits=0, says="Train: 4 steps in")
def _(folder):
    outcome = on_terminal(TERM="dumb")
    assert "\x1b" not in outcome.text
    return outcome


@case("ENV10", "a terminal of width 20, NO_COLOR", exits=0, says="4 steps in", slow=True)
def _(folder):
    outcome = on_terminal(TERM="xterm", COLUMNS="20", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", outcome.text)
    return outcome
