"""Out of memory in a step: the same samples in smaller micro-batches, or one sentence."""

import json

import pytest
import torch

from runner.diffusion.objectives import denoise
from runner.training import checkpoints, stage
from tests.conftest import each
from tests.training.finetune import recipe
from tests.training.finetune import run as command
from tests.training.toy_loop import Hooks, family, run, settings

SHRINK = {"batch_size": 8, "logging_steps": 1, "on_oom": "shrink"}


def room_for(rows, after=0, error=torch.OutOfMemoryError):
    """An objective that runs out of memory on larger batches, once so many samples were seen."""

    def objective(model, batch, training):
        losses = denoise(model, batch, training)
        if len(batch) > rows and batch.first >= after:
            raise error("DefaultCPUAllocator: not enough memory: you tried to allocate 1 byte")
        return losses

    return objective


@pytest.mark.parametrize("error", each([torch.OutOfMemoryError, RuntimeError, MemoryError], few=(RuntimeError,)))
def test_a_step_that_finds_no_room_is_made_of_smaller_batches(error):
    training = settings(**SHRINK)
    shrunk, hooks = run(training, objective=room_for(2, error=error))
    small, small_hooks = run({**training, "batch_size": 2, "gradient_accumulation_steps": 4})
    _, large_hooks = run(training)
    assert hooks.splits == [(1, 8, 4), (1, 4, 2)]
    assert hooks.lines == small_hooks.lines
    assert all(torch.equal(p, small.parameters[name]) for name, p in shrunk.parameters.items())
    assert [line.loss for line in hooks.lines] == pytest.approx([line.loss for line in large_hooks.lines], rel=1e-4)


def test_a_step_that_ran_out_half_way_begins_anew():
    """The first micro-batch's gradients are let go, and steps before and after hold the samples that they would."""
    training = settings(**{**SHRINK, "batch_size": 6, "gradient_accumulation_steps": 2})
    _, hooks = run(training, objective=room_for(3, after=30))
    _, whole = run(training)
    assert hooks.splits == [(3, 6, 3)]
    assert hooks.lines[:2] == whole.lines[:2]
    assert [line.loss for line in hooks.lines] == pytest.approx([line.loss for line in whole.lines], rel=1e-4)
    assert [line.grad_norm for line in hooks.lines] == pytest.approx([line.grad_norm for line in whole.lines], rel=1e-3)


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_a_run_goes_on_with_the_split_it_had(tmp_path, stop):
    training = settings(**SHRINK)
    late = room_for(4, after=16)  # from the third step on
    whole, hooks = run(training, objective=late, model=family(dropout=0.2))
    half, _ = run(training, objective=late, model=family(dropout=0.2), steps=stop)
    checkpoints.save(tmp_path, half.checkpoint(), 1)
    saved, _ = checkpoints.newest(tmp_path)
    assert saved.values["batch_size"] == (4 if stop > 2 else 8)
    rest, later = run(training, objective=late, model=family(dropout=0.2), resume=saved)
    assert later.lines == hooks.lines[stop:]
    assert later.splits == ([] if stop > 2 else [(3, 8, 4)])
    assert all(torch.equal(p, rest.parameters[name]) for name, p in whole.parameters.items())


def test_a_split_that_the_recipe_changes_is_the_recipes():
    trainer, _ = run(settings(**SHRINK), objective=room_for(2), steps=1)
    changed = {**SHRINK, "batch_size": 4, "gradient_accumulation_steps": 2}
    rest, _ = run(settings(**changed), resume=trainer.checkpoint())
    assert rest.batches.work.batch_size == 4


@pytest.mark.parametrize(
    ("training", "rows"), [({"on_oom": "stop"}, 2), ({"batch_size": 1}, 0), ({"batch_size": 4}, 0)]
)
def test_where_nothing_can_be_split_the_fault_comes_out(training, rows):
    with pytest.raises(torch.OutOfMemoryError):
        run(settings(**{**SHRINK, **training}), objective=room_for(rows))


def test_running_out_in_the_optimizer_is_a_fault():
    """Its step may be half done: going on would not be the same run."""

    class Full(Hooks):
        def stepped(self):
            raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        run(settings(**SHRINK), hooks=Full())


PRIOR = {"num_images": 4, "instance_prompt": "a sks flower"}
PRIOR["prior"] = {"prompt": "a flower", "num_images": 2, "num_inference_steps": 1}


@pytest.mark.parametrize("data", [{}, PRIOR], ids=["caches", "prior"])
def test_a_command_says_aloud_and_records_that_it_shrank(here, toy, data, capsys, monkeypatch):
    rows = 2 * (2 if data else 1)
    monkeypatch.setattr(stage, "objective_of", lambda kind: room_for(rows))
    training = {"max_train_steps": 2, "batch_size": 4, "on_oom": "shrink"}
    folder = command(
        recipe(toy("stable_diffusion"), training=training, data=data, compute={"dataloader_num_workers": 2})
    )
    said = (
        "out of memory: training.batch_size 4 → 2, gradient_accumulation_steps 1 → 2; the same samples make each step"
    )
    assert said in capsys.readouterr().err
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert lines[0] == {"step": 1, "batch_size": 2, "gradient_accumulation_steps": 2}
    assert [line["step"] for line in lines[1:]] == [1, 2]
    state = json.loads((folder / "checkpoints/step-000002/state.json").read_text())
    assert (state["batch_size"], state["gradient_accumulation_steps"]) == (2, 2)


def test_a_command_that_stops_names_what_to_change(here, toy, capsys, monkeypatch):
    monkeypatch.setattr(stage, "objective_of", lambda kind: room_for(2))
    command(recipe(toy("stable_diffusion"), training={"batch_size": 4}), code=5)
    said = capsys.readouterr().err
    assert "the machine is out of memory" in said
    assert "training.batch_size=2 training.gradient_accumulation_steps=2, training.on_oom=shrink" in said
    assert "with --allow-changes this run goes on by training.gradient_checkpointing=true or" in said
