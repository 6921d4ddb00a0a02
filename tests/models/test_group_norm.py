"""GroupNorm in the form that is compiled on a CPU."""

import pytest
import torch
from torch import nn

from runner.models.group_norm import ByChannel, by_channel

SHAPES = [(3, 12, 5, 7), (2, 12, 9), (4, 12)]
FORMATS = {torch.float32: 1e-5, torch.bfloat16: 2e-2}  # how far apart two of a format may be, relatively


def norm(groups=4):
    torch.manual_seed(0)
    made = nn.GroupNorm(groups, 12, eps=1e-3)
    nn.init.normal_(made.weight)
    nn.init.normal_(made.bias)
    return made


def passed(made, x):
    """What it gives, and the gradients of the picture, the weight and the bias."""
    x = x.clone().requires_grad_()
    y = made(x)
    weighed = (y.float() * torch.arange(y.numel()).cos().view(y.shape)).sum()
    gradients = torch.autograd.grad(weighed, [x, made.weight, made.bias])
    return [y.detach(), *gradients]


@pytest.mark.parametrize("narrow", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("groups", [1, 4, 12])
def test_it_is_the_same_norm(monkeypatch, shape, groups, narrow):
    made, x = norm(groups), (torch.randn(shape) * 3 + 2).to(narrow)
    expected = passed(made, x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with by_channel([made]):
        found = passed(made, x)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert (one - other).float().norm() <= FORMATS[narrow] * other.float().norm() + 1e-6


def test_channels_of_no_spread_are_not_divided_by_zero(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    made = norm()
    with by_channel([made]):
        flat = made(torch.full((2, 12, 4, 4), 1000.0))
    torch.testing.assert_close(flat, made.bias.view(1, 12, 1, 1).expand_as(flat), rtol=1e-3, atol=1e-2)


def test_what_is_not_compiled_is_as_it_was():
    made, x = norm(), torch.randn(2, 12, 8, 8)
    expected = made(x)
    with by_channel([nn.Sequential(made)]):
        assert type(made) is ByChannel
        assert torch.equal(made(x), expected)
        assert made.state_dict().keys() == {"weight", "bias"}
    assert type(made) is nn.GroupNorm and not hasattr(made, "members")


def test_a_model_is_left_as_it_was_after_a_fault():
    made = norm()
    with pytest.raises(RuntimeError), by_channel([made]):
        raise RuntimeError
    assert type(made) is nn.GroupNorm


@pytest.mark.parametrize("other", [nn.GroupNorm(2, 12, affine=False), nn.LayerNorm(12)])
def test_other_norms_are_left_alone(other):
    kind = type(other)
    with by_channel([other]):
        assert type(other) is kind


@pytest.mark.slow
def test_compiled_it_is_the_same_norm():
    """Under autocast too, of which the code itself has none: torch would not keep it from one run to the next."""
    made, x = norm(), torch.randn(2, 12, 8, 8).to(memory_format=torch.channels_last)
    expected = passed(made, x)
    targets = []

    def backend(graph, inputs):
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    with by_channel([made]), torch.autocast("cpu", torch.bfloat16):
        made.compile(backend=backend)
        made(x)
        assert "unflatten" in targets and not [target for target in targets if "autocast" in target]
        torch.compiler.reset()
        made.compile(dynamic=False)
        found = passed(made, x)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
