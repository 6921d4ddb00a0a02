"""Attention with its scores written out where they are few."""

from inspect import signature
from unittest.mock import Mock

import pytest
import torch
from diffusers.models import attention_processor
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0, SlicedAttnProcessor
from torch import nn

from runner.models.attention import EagerWhereFew, eager_attention


@pytest.fixture
def asked(monkeypatch):
    """Watches what attention is asked of torch's fused kernel."""
    fused = Mock(wraps=nn.functional.scaled_dot_product_attention)
    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", fused)
    return fused


def block(**options):
    torch.manual_seed(0)
    return Attention(query_dim=16, heads=4, dim_head=4, **options)


@pytest.mark.parametrize("shape", [(2, 16, 8, 8), (2, 64, 16)])
@pytest.mark.parametrize("told", [None, (2, 7, 16)])
def test_it_attends_as_the_fused_kernel_does(asked, shape, told):
    attention = block(residual_connection=True)
    x, text = torch.randn(shape), None if told is None else torch.randn(told)
    expected = attention(x, text)
    eager_attention(attention)
    torch.testing.assert_close(attention(x, text), expected, rtol=1e-5, atol=1e-5)
    assert asked.call_count == 1


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("side, fused", [(22, 0), (23, 1)])  # 4 heads of (22 x 22) x (22 x 22): less than 2 ** 20
def test_many_scores_of_a_picture_are_not_written_out(asked, rows, side, fused):
    attention = block()
    eager_attention(attention)
    attention(torch.randn(rows, 16, side, side))
    assert asked.call_count == fused


def test_masked_tokens_are_not_seen():
    attention, x, text = block(), torch.randn(1, 16, 16), torch.randn(1, 8, 16)
    mask = torch.zeros(1, 1, 8)
    mask[..., 5:] = -10_000
    expected = attention(x, text[:, :5])
    eager_attention(attention)
    torch.testing.assert_close(attention(x, text, attention_mask=mask), expected, rtol=1e-5, atol=1e-5)


def test_diffusers_hands_over_all_that_it_does_otherwise(monkeypatch):
    """It goes by the names of what a processor takes, and says what it leaves out."""
    said = []
    monkeypatch.setattr(attention_processor.logger, "warning", said.append)
    ours = signature(EagerWhereFew.__call__).parameters
    theirs = [signature(kind.__call__).parameters for kind in (AttnProcessor, AttnProcessor2_0)]
    assert list(ours) == [name for name in theirs[0] if name not in ("args", "kwargs")]
    assert list(theirs[0]) == list(theirs[1])
    attention = Attention(query_dim=32, heads=4, dim_head=8, spatial_norm_dim=8)
    x, temb = torch.randn(1, 32, 4, 4), torch.randn(1, 8, 4, 4)
    expected = attention(x, temb=temb)
    eager_attention(attention)
    torch.testing.assert_close(attention(x, temb=temb), expected, rtol=1e-5, atol=1e-5)
    assert said == []


def test_attention_of_another_kind_stays_as_it_is():
    kinds = [SlicedAttnProcessor(1), AttnProcessor()]
    fused = [block(qk_norm="layer_norm"), block(upcast_attention=True)]
    blocks = [*(block(processor=kind) for kind in kinds), *fused]
    eager_attention(nn.ModuleList(blocks))
    assert [each.processor for each in blocks[:2]] == kinds
    assert [type(each.processor) for each in fused] == [AttnProcessor2_0] * 2
