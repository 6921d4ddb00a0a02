"""The command in several processes: one run, one folder, one voice, and going on with another number of them."""

import errno
import json
import signal
from functools import partial
from itertools import count

import pytest
import torch
import yaml
from safetensors.torch import load_file

from runner.training import checkpoints
from runner.training.keeper import Keeper
from runner.training.together import Together
from tests.conftest import each
from tests.corpus.table import toy
from tests.faults.runs import log, newest
from tests.several.crew import ends

RUN = ("run", "recipe.yaml")
TRAINING = {"max_train_steps": 6, "batch_size": 4, "checkpointing_steps": 2, "logging_steps": 1, "ema": {"decay": 0.9}}


def asked(folder, **training):
    recipe = toy(training={**TRAINING, **training}, compute={"mixed_precision": "fp32"})
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def stepped(act, rank, steps):
    """Has `act` happen in a process of this rank in the last of so many steps."""
    before, done = Keeper.stepped, count(1)

    def counted(keeper):
        before(keeper)
        if keeper.world.rank == rank and next(done) == steps:
            act()

    Keeper.stepped = counted


def seen(folder, _rank, then=None):
    """Has the numbers of all samples that are learned from written down."""
    losses = Together.losses

    def noted(together, objective, batch, training):
        if batch.weight.any():
            numbers = range(batch.first, batch.first + len(batch))
            with (folder / "seen").open("a") as file:
                file.write("".join(f"{number}\n" for number in numbers))
        return losses(together, objective, batch, training)

    Together.losses = noted
    if then is not None:
        then()


def said_once(said):
    """The one error that all processes together tell of."""
    (error,) = [line for text in said for line in text.splitlines() if line.startswith("recipe: ")]
    return error


def weights(run):
    file = run / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    return torch.cat([tensor.flatten() for _, tensor in sorted(load_file(file).items())]).double()


@pytest.mark.slow
def test_two_go_on_as_one_and_as_two_again_with_every_sample_seen_once(here):
    asked(here)
    stops = partial(signal.raise_signal, signal.SIGTERM)
    for processes, rank, steps in ((2, 1, 2), (1, 0, 1)):
        before = partial(seen, here, then=partial(stepped, stops, rank, steps))
        codes, said = ends(here, processes, *RUN, before=before)
        assert codes == [143] * processes, said
        assert said_once(said).endswith("its state is saved: the same command goes on with outputs/toy/001"), said
    codes, said = ends(here, 2, *RUN, before=partial(seen, here))
    assert codes == [0, 0], said
    assert "going on from step 3; close, not bitwise equal: processes 1 → 2" in said[0]
    assert sorted(map(int, (here / "seen").read_text().split())) == list(range(6 * 4))
    run = newest(here)
    assert [line["step"] for line in log(run)] == [1, 2, 3, 4, 5, 6]
    sessions = json.loads((run / "run.json").read_text())["sessions"]
    assert [session["processes"] for session in sessions] == [2, 1, 2]
    codes, said = ends(here, 1, *RUN, "--output-dir", "alone")
    assert codes == [0], said
    whole = here / "alone" / "toy" / "001"
    assert {path.name for path in run.rglob("*")} >= {path.name for path in whole.rglob("*")}
    ours, theirs = weights(run), weights(whole)
    assert (ours - theirs).norm() < 1e-4 * theirs.norm()


def no_room():
    """Has the disk be full where checkpoints are written, in whichever process does that."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    checkpoints.save_file = full


def objective_of(rank, raised):
    """Has the objective fail in one process, from its third step on."""
    losses = Together.losses

    def failing(together, objective, batch, training):
        if int(batch.first) >= 8 and rank in (None, together._accelerator.process_index):
            if raised is None:
                return losses(together, objective, batch, training) * float("nan")
            raise raised
        return losses(together, objective, batch, training)

    Together.losses = failing


FAULTS = {  # what is done to each process, the exit code of all, what one of them says
    "a full disk in the main one": (lambda rank: no_room(), 5, "the checkpoint of step 2 could not be written"),
    "no memory in another": (
        lambda rank: objective_of(1, torch.OutOfMemoryError("not enough memory: you tried")),
        5,
        "the machine is out of memory; what was made is kept",
    ),
    "a bug in another": (lambda rank: objective_of(1, KeyError("x")), 70, "this is a bug in recipe"),
    "NaN in all": (lambda rank: objective_of(None, None), 8, "the loss became nan at step 3"),
    "NaN in another": (lambda rank: objective_of(1, None), 8, "the loss became nan at step 3"),
}


@pytest.mark.parametrize("name", each(FAULTS, few=["no memory in another", "NaN in another"]))
def test_one_of_them_says_what_ends_them_all(here, name):
    before, code, sentence = FAULTS[name]
    asked(here)
    codes, said = ends(here, 2, *RUN, before=before)
    assert codes == [code, code], said
    assert sentence in said_once(said), said
    record = json.loads((newest(here) / "run.json").read_text())
    assert (record["state"], record["exit_code"]) == ("failed", code)
    assert sentence in record["message"] or code == 70


def test_a_fault_of_the_recipe_is_said_once(here):
    asked(here, batch_size=1)
    codes, said = ends(here, 2, *RUN)
    assert codes == [1, 1], said
    assert "recipe.yaml" in said[0] and "batch_size: 1\n" in said[0], said
    assert "and 2 processes would share them: give it more, or take 1 at most" in said[0] and said[1] == "", said


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1])
def test_who_is_killed_takes_the_others_along_and_the_run_goes_on(here, rank):
    asked(here)
    kill = partial(signal.raise_signal, signal.SIGKILL)
    codes, said = ends(here, 2, *RUN, before=lambda own: stepped(kill, rank, 3))
    assert codes[rank] == -signal.SIGKILL and codes[1 - rank] == 5, said
    assert "another process of this run is gone without a word" in said_once(said)
    codes, said = ends(here, 2, *RUN)
    assert codes == [0, 0] and "going on from step 2 of 6" in said[0], said
