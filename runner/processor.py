"""What the processor can do. torch is imported when it is asked."""

from __future__ import annotations


def has_bf16() -> bool:
    """Whether the processor multiplies bf16 numbers by instructions of its own: AVX512-BF16 or AMX.

    Of ARM processors none was measured, so they count as having none.
    """
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
