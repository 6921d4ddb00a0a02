"""What a step keeps for its backward pass, counted without weights and without memory."""

import pytest
import torch
from diffusers import UNet2DModel
from torch.autograd.graph import saved_tensors_hooks

from runner.models.autocast import Autocast
from runner.models.counting import learning

CONFIG = {
    "sample_size": 16,
    "block_out_channels": (16, 32, 32),
    "layers_per_block": 2,
    "norm_num_groups": 8,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
}


def step(unet, rows, device):
    x = torch.zeros(rows, 3, 16, 16, device=device)
    return unet(x, torch.zeros(rows, dtype=torch.long, device=device)).sample


def kept(precision):
    """Bytes that autograd really keeps of a picture, beside weights and their copies: what grows with the batch."""
    unet = UNet2DModel(**CONFIG).train()

    def whole(rows):
        tensors = []
        hooks = saved_tensors_hooks(lambda tensor: tensors.append(tensor) or tensor, lambda tensor: tensor)
        with hooks, torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            output = step(unet, rows, "cpu")
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
        del output
        return sum(storages.values())

    return (whole(6) - whole(2)) / 4


def counted(autocast):
    with torch.device("meta"):
        skeleton = UNet2DModel(**CONFIG)
    return learning(skeleton, lambda: step(skeleton, 1, "meta"), checkpointed=False, autocast=autocast)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_counted_is_kept(precision):
    count = counted(Autocast("cpu", torch.bfloat16) if precision == "bf16" else None)
    assert count.activations == pytest.approx(kept(precision), rel=0.05)
    matrices = sum(p.numel() for p in UNet2DModel(**CONFIG).parameters() if p.ndim > 1)
    assert count.copies == pytest.approx(2 * matrices, rel=0.1) if precision == "bf16" else count.copies == 0


def test_norms_are_kept_wide_on_a_gpu():
    """Autocast computes them in fp32 there, and what follows them up to the next convolution."""
    on_cpu, on_gpu = (counted(Autocast(device, torch.bfloat16)).activations for device in ("cpu", "cuda"))
    assert 1.5 < on_gpu / on_cpu < 2
