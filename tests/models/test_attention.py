"""Attention with its scores written out, or in fp32, where there are few."""

from inspect import signature
from unittest.mock import Mock

import pytest
import torch
from diffusers.models import attention_processor
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0, SlicedAttnProcessor
from torch import nn

from runner.models import attention as attentions
from runner.models.attention import EagerWhereFew, WideWhereFew

EAGER = {"eager_attention": True, "upcast_attention": False}
WIDE = {"eager_attention": False, "upcast_attention": True}


@pytest.fixture
def asked(monkeypatch):
    """Watches what attention is asked of torch's fused kernel."""
    fused = Mock(wraps=nn.functional.scaled_dot_product_attention)
    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", fused)
    return fused


def eager_attention(module):
    attentions.lay_out(module, EAGER)


def wide_attention(module):
    attentions.lay_out(module, WIDE)


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


@pytest.mark.parametrize("kind", [EAGER, WIDE], ids=["eager", "wide"])
def test_masked_tokens_are_not_seen(kind):
    attention, x, text = block(), torch.randn(1, 16, 16), torch.randn(1, 8, 16)
    mask = torch.zeros(1, 1, 8)
    mask[..., 5:] = -10_000
    expected = attention(x, text[:, :5])
    attentions.lay_out(attention, kind)
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


@pytest.mark.parametrize("told", [None, (2, 77, 16)])
@pytest.mark.parametrize("narrow", [False, True])
def test_few_keys_are_attended_to_in_fp32(asked, narrow, told):
    """The result is nearer to that of fp32 than the fused kernel's own in bf16."""
    attention = block()
    x, text = torch.randn(2, 100, 16), None if told is None else torch.randn(told)
    with torch.no_grad():
        exact = attention(x, text)
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            fused = attention(x, text)
            wide_attention(attention)
            asked.reset_mock()
            wide = attention(x, text)
    assert wide.dtype == fused.dtype
    assert [call.args[0].dtype for call in asked.call_args_list] == [torch.float32]
    if narrow:
        assert (wide - exact).square().mean() < (fused - exact).square().mean() < exact.square().mean() * 1e-3
    else:
        assert torch.equal(wide, exact)


@pytest.mark.parametrize("keys, dtype", [(128, torch.float32), (129, torch.bfloat16)])
def test_many_keys_are_left_to_the_narrow_kernel(asked, keys, dtype):
    attention = block().bfloat16()
    wide_attention(attention)
    given = attention(torch.randn(1, 4, 16).bfloat16(), torch.randn(1, keys, 16).bfloat16())
    assert asked.call_args.args[0].dtype == dtype
    assert given.dtype == torch.bfloat16


def test_what_does_more_than_attend_keeps_the_fused_kernel():
    more = [
        *(block(residual_connection=True), block(norm_num_groups=4), block(rescale_output_factor=2.0)),
        *(block(qk_norm="layer_norm"), block(cross_attention_norm="layer_norm", cross_attention_dim=16)),
    ]
    plain = block()
    wide_attention(nn.ModuleList([*more, plain]))
    assert [type(each.processor) for each in more] == [AttnProcessor2_0] * 5
    assert type(plain.processor) is WideWhereFew


def test_written_out_goes_before_fp32():
    few, wider = block(), block(upcast_attention=True)
    attentions.lay_out(nn.ModuleList([few, wider]), {"eager_attention": True, "upcast_attention": True})
    assert (type(few.processor), type(wider.processor)) == (EagerWhereFew, WideWhereFew)
