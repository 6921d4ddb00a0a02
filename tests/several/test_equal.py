"""Several processes learn what one does."""

from pathlib import Path

import pytest
import torch

from runner.models.fast import Compiled
from tests.conftest import each
from tests.several.crew import ends
from tests.training.toy_loop import Hooks, family, run, settings

TRAINING = {"max_train_steps": 20, "batch_size": 8, "logging_steps": 1}


def in_double(model, batch, training):
    """What `denoise` is of, every number in double precision."""
    x0, eps = batch.pixels.double() / 127.5 - 1, batch.eps.double()
    t = (batch.u * 1000).long()
    noisy = model.scheduler.add_noise(x0, eps, t)
    return (model.unet(noisy, t).sample - eps).square().flatten(1).mean(1)


def learn(name, options, double=False, compiles=False):
    """Trains and keeps the weights and what was logged."""
    model, hooks = family(), Hooks()
    compiled = Compiled(model, compiles, Path("code"))
    if double:
        model.unet.double()
    with compiled.ready():
        how = {"objective": in_double} if double else {}
        trainer, _ = run(settings(**options), model=model, hooks=hooks, compiled=compiled, **how)
    if trainer.accelerator.is_main_process:
        weights = {key: p.detach() for key, p in trainer.parameters.items()}
        log = [(line.loss, line.grad_norm) for line in hooks.lines]
        torch.save((weights, log, trainer.accelerator.num_processes), name)
    return 0


def apart(folder, count, options, *how):
    """How far the weights of so many processes that learn like this are from those of one, relative to these.

    Also both logs. The one never compiles.
    """
    results = []
    for processes in (1, count):
        name = f"{processes}.pt"
        codes, said = ends(folder, processes, name, options, *(how[:1] if processes == 1 else how), work=learn)
        assert codes == [0] * processes, said
        *result, met = torch.load(folder / name)
        assert met == processes
        results.append(result)
    (ours, log), (theirs, other) = results
    a, b = (torch.cat([weights[key].flatten() for key in ours]).double() for weights in (ours, theirs))
    return ((a - b).norm() / a.norm()).item(), log, other


@pytest.mark.parametrize("count", each([2, 3], few=[2]))
def test_weights_are_those_of_one_process(here, count):
    options = TRAINING if count == 2 else {**TRAINING, "batch_size": 6}
    way, log, other = apart(here, count, options, True)
    assert way < 1e-9, way
    assert len(log) == len(other) == 20
    for line, same in zip(log, other):
        assert line == pytest.approx(same, rel=1e-6)  # a step's loss is summed in single precision


@pytest.mark.slow
def test_in_single_precision_the_order_of_sums_is_seen(here):
    way, *_ = apart(here, 2, TRAINING)
    assert 0 < way < 1e-4, way


@pytest.mark.slow
def test_compiled_code_learns_the_same_in_several_processes(here):
    way, log, other = apart(here, 2, {**TRAINING, "max_train_steps": 5}, False, True)
    assert 0 < way < 1e-4, way
    assert [line[1] for line in other] == pytest.approx([line[1] for line in log], rel=1e-3)
