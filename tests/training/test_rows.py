"""Weights in rows: the same steps, and the same state in a checkpoint, as without."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import SGD, Adam, AdamW

from runner.training import rows
from runner.training.rows import Rows
from runner.training.state import load_optimizer_state, optimizer_state
from runner.training.together import Together
from tests.conftest import defaults
from tests.training.toy_loop import Hooks, family, run, settings

SHAPES = ((8, 3, 3, 3), (8,), (16, 8), (5, 8, 1, 1), (), (700,))


def weights():
    torch.manual_seed(0)
    made = [torch.randn(shape) for shape in SHAPES]
    return [nn.Parameter(w.to(memory_format=torch.channels_last) if w.ndim == 4 else w) for w in made]


def optimizer_of(weights, kind=AdamW, **options):
    groups = [{"params": weights[:4], "lr": 1e-2}, {"params": weights[4:], "lr": 1e-3}]
    return kind(groups, lr=1e-2, **({"fused": True} | options))


def gradients(weights, step):
    torch.manual_seed(step)
    for weight in weights:
        weight.grad = torch.empty_like(weight).copy_(torch.randn(weight.shape))


@pytest.fixture(autouse=True)
def short_rows(monkeypatch):
    """Rows of several weights, and some of one that is longer than they may be."""
    monkeypatch.setattr(rows, "_LONGEST", 300)


@pytest.mark.parametrize(
    ("kind", "options"), [(AdamW, {"weight_decay": 0.1}), (Adam, {}), (SGD, {"momentum": 0.9}), (SGD, {})]
)
def test_steps_are_those_of_weights_by_themselves(kind, options):
    apart, together = weights(), weights()
    plain, in_rows = optimizer_of(apart, kind, **options), optimizer_of(together, kind, **options)
    held = Rows(in_rows)
    assert [[p.numel() for p in group["params"]] for group in in_rows.param_groups] == [[224, 168], [1, 700]]
    for step in range(5):
        gradients(apart, step)
        gradients(together, step)
        held.gather()
        assert all(weight.grad is None for weight in together)
        plain.step()
        in_rows.step()
    for a, b in zip(apart, together, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
        assert a.stride() == b.stride()
    (expected, rest), (found, found_rest) = optimizer_state(plain), held.apart(*optimizer_state(in_rows))
    assert found_rest == rest
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("without", [None, 1, 2, 4])
def test_a_state_of_weights_by_themselves_goes_on_in_rows(without):
    """Also of one that had no gradient, which then has none of its own."""
    apart, together = weights(), weights()
    plain, in_rows = optimizer_of(apart, weight_decay=0.0), optimizer_of(together, weight_decay=0.0)
    gradients(apart, 0)
    if without is not None:
        apart[without].grad = None
    plain.step()
    held = Rows(in_rows)
    with torch.no_grad():
        for a, b in zip(apart, together, strict=True):
            b.copy_(a)
    tensors, rest = optimizer_state(plain)
    load_optimizer_state(in_rows, *held.joined({key: tensor.clone() for key, tensor in tensors.items()}, rest))
    for step in (1, 2):
        for each in (apart, together):
            gradients(each, step)
            if without is not None:
                each[without].grad = None
        held.gather()
        plain.step()
        in_rows.step()
    for a, b in zip(apart, together, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_a_weight_that_nothing_was_computed_with_has_a_gradient_of_zeros():
    own = weights()
    before = own[1].detach().clone()
    optimizer = optimizer_of(own, weight_decay=0.0)
    held = Rows(optimizer)
    gradients(own, 0)
    own[1].grad = None
    held.gather()
    optimizer.step()
    assert torch.equal(own[1], before)
    assert not torch.equal(own[0], weights()[0])


def test_the_average_in_place_of_the_weights_for_a_while_changes_nothing():
    """As drawing does between two steps: what the optimizer steps in are the weights again afterwards."""

    class Drawing(Hooks):
        def reached(self, step, trainer):
            with trainer.together.shown(trainer.ema):
                pass

    training = settings(ema=defaults("training/ema.json", decay=0.9))
    plain, _ = run(training)
    drawn, _ = run(training, hooks=Drawing(every=1))
    assert all(torch.equal(p, drawn.parameters[name]) for name, p in plain.parameters.items())


@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e3])
def test_gradients_are_clipped_as_torch_does_it(limit):
    own, plain = weights(), weights()
    accelerator = Accelerator(cpu=True)
    gradients(own, 0)
    gradients(plain, 0)
    norm = Together(family(), accelerator).clip(own, limit)
    assert norm == torch.nn.utils.clip_grad_norm_(plain, limit)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(own, plain, strict=True))
