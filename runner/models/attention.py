"""Attention whose scores are written out where they are few: what a CPU's fused kernel is slow at, backward in bf16."""

from __future__ import annotations

from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import Tensor, nn

_FEW = 2**20
"""Of one picture, over all heads, so that it does not depend on how a batch is split.

Measured forward and backward in bf16 on two cores with AVX512-BF16, torch 2.13, as scaled_dot_product_attention's time
over this one's, 8 heads, 2 and 16 pictures: 64 to 256 tokens 2.1 to 8.1, 16 tokens 0.5 to 6.9, 1,024 tokens and 77 of a
text 1.7 to 2.4, 1,024 tokens 0.5 to 2.1. In fp32, to 256 tokens, 0.7 to 1.3.
"""


def eager_attention(module: nn.Module) -> None:
    """Each Attention of a model that takes torch's scaled_dot_product_attention takes it for many scores only.

    Those whose scores are to be wider than the rest (upcast_attention) keep it: what is written out is narrow.
    """
    fused = (m for m in module.modules() if isinstance(m, Attention) and type(m.processor) is AttnProcessor2_0)
    for part in fused:
        if part.norm_q is None and not part.upcast_attention:
            part.set_processor(EagerWhereFew())


class EagerWhereFew:
    """diffusers' AttnProcessor for few scores, its AttnProcessor2_0 for many."""

    def __init__(self) -> None:
        self._few, self._many = AttnProcessor(), AttnProcessor2_0()

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
        processor = self._few if attn.heads * queries * keys <= _FEW else self._many
        attended: Tensor = processor(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        return attended


def _tokens(states: Tensor) -> int:
    """Of one picture: (batch, channels, height, width) or (batch, tokens, channels)."""
    return states[0, 0].numel() if states.ndim == 4 else states.shape[1]
