"""Attention of few scores or keys otherwise than by a CPU's fused kernel in bf16, which is slow at them backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import Tensor, nn

_FEW_SCORES = 2**20
"""Of one picture, over all heads, so that it does not depend on how a batch is split.

Measured forward and backward in bf16 on two cores with AVX512-BF16, torch 2.13, as scaled_dot_product_attention's time
over this one's, 8 heads, 2 and 16 pictures: 64 to 256 tokens 2.1 to 8.1, 16 tokens 0.5 to 6.9, 1,024 tokens and 77 of a
text 1.7 to 2.4, 1,024 tokens 0.5 to 2.1. In fp32, to 256 tokens, 0.7 to 1.3.
"""
_FEW_KEYS = 128
"""Forward and backward as above, bf16's time over fp32's with the casts: 77 keys for 1,024 tokens 1.0 to 1.4, for 16 to
256 tokens 2.5 to 3.0; 64 for 64 tokens 1.5 to 4.4; 256 for 256 0.9 to 1.4; 1,024 for 1,024 0.5 to 0.8.
"""


def lay_out(module: nn.Module, compute: dict[str, Any]) -> None:
    """The kinds of attention that a settled `compute` asks for, in each Attention that takes the fused kernel."""
    for part in _fused(module):
        if compute["eager_attention"] and not part.upcast_attention:  # what is written out is narrow
            part.set_processor(EagerWhereFew())
        elif compute["upcast_attention"] and _plain(part):
            part.set_processor(WideWhereFew())


def _fused(module: nn.Module) -> Iterator[Attention]:
    """The attentions by torch's scaled_dot_product_attention, without norms of their own for queries and keys."""
    for part in module.modules():
        if isinstance(part, Attention) and type(part.processor) is AttnProcessor2_0 and part.norm_q is None:
            yield part


def _plain(attn: Attention) -> bool:
    """Whether it attends and does nothing besides, as in a transformer's block."""
    norms = (attn.group_norm, attn.spatial_norm, attn.norm_cross)
    return not any(norms) and not attn.residual_connection and attn.rescale_output_factor == 1


class _WhereFew:
    """Attends by `_few` where `_are_few` says so, and by diffusers' AttnProcessor2_0 elsewhere."""

    _few: Callable[..., Tensor]

    def __init__(self) -> None:
        self._many = AttnProcessor2_0()

    def __call__(  # by these names diffusers knows what it may hand over
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        queries = _tokens(hidden_states)
        keys = queries if encoder_hidden_states is None else _tokens(encoder_hidden_states)
        few = self._are_few(attn, queries, keys, attention_mask)
        attend = self._few if few else self._many
        attended: Tensor = attend(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        return attended

    def _are_few(self, attn: Attention, queries: int, keys: int, mask: Tensor | None) -> bool:
        """Of one picture, over all heads."""
        raise NotImplementedError


class EagerWhereFew(_WhereFew):
    """diffusers' AttnProcessor for few scores."""

    def __init__(self) -> None:
        super().__init__()
        self._few = AttnProcessor()

    def _are_few(self, attn: Attention, queries: int, keys: int, mask: Tensor | None) -> bool:  # noqa: ARG002
        return bool(attn.heads * queries * keys <= _FEW_SCORES)


class WideWhereFew(_WhereFew):
    """AttnProcessor2_0's attention in fp32 for few keys without a mask, of an Attention that is `_plain`."""

    def _are_few(self, attn: Attention, queries: int, keys: int, mask: Tensor | None) -> bool:  # noqa: ARG002
        return mask is None and keys <= _FEW_KEYS

    def _few(self, attn: Attention, hidden_states: Tensor, told: Tensor | None, *_: Any) -> Tensor:
        told = hidden_states if told is None else told
        query, key, value = attn.to_q(hidden_states), attn.to_k(told), attn.to_v(told)
        heads = (x.float().unflatten(2, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value))
        with torch.autocast(_device(query), enabled=False):
            attended = nn.functional.scaled_dot_product_attention(*heads)
        out, dropout = attn.to_out
        given: Tensor = dropout(out(attended.transpose(1, 2).flatten(2).to(query.dtype)))
        return given


def _device(tensor: Tensor) -> str:
    """Its type; that of a CPU for the meta device, which autocast does not know (see `autocast.Autocast`)."""
    return "cpu" if tensor.is_meta else tensor.device.type


def _tokens(states: Tensor) -> int:
    """Of one picture: (batch, channels, height, width) or (batch, tokens, channels)."""
    return states[0, 0].numel() if states.ndim == 4 else states.shape[1]
