"""What a step keeps for its backward pass, counted without weights and without memory."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from torch.autograd.graph import saved_tensors_hooks

from runner.models import attention
from runner.models.autocast import Autocast
from runner.models.counting import learning

CONFIG = {
    "sample_size": 16,
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 32,
    "norm_num_groups": 8,
    "attention_head_dim": 4,
}
BF16 = torch.bfloat16
CASES = {  # what learns, the frozen weights' number format, and whether a step computes in bf16
    "all, fp32": ("all", torch.float32, False),
    "all, eager, bf16": ("all, eager", torch.float32, True),
    "all, bf16": ("all", torch.float32, True),
    "all, wide, bf16": ("all, wide", torch.float32, True),
    "lora, bf16": ("lora", BF16, True),
    "lora, wide, bf16": ("lora, wide", BF16, True),
    "lora on fp32, bf16": ("lora", torch.float32, True),
    "word, bf16": ("word", BF16, True),
}


def made(learns, dtype):
    """A UNet of which all learns, or a LoRA, or nothing but what it is told."""
    unet = UNet2DConditionModel(**CONFIG).train()
    attention.lay_out(unet, {"eager_attention": "eager" in learns, "upcast_attention": "wide" in learns})
    if not learns.startswith("all"):
        unet.requires_grad_(False).to(dtype)
    if "lora" in learns:
        unet.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
        for weight in unet.parameters():
            weight.data = weight.data.float() if weight.requires_grad else weight.data
    return unet


def step(unet, rows, learns):
    x, told = torch.zeros(rows, 4, 16, 16, device=unet.device), torch.zeros(rows, 77, 32, device=unet.device)
    return unet(x, torch.zeros(rows, dtype=torch.long, device=unet.device), told.requires_grad_(learns == "word"))


def kept(learns, dtype, narrow):
    """Bytes that autograd really keeps beside the weights: for each picture, and once."""
    unet = made(learns, dtype)
    own = {weight.untyped_storage().data_ptr() for weight in unet.parameters()}

    def whole(rows):
        tensors = []
        hooks = saved_tensors_hooks(lambda tensor: tensors.append(tensor) or tensor, lambda tensor: tensor)
        with hooks, torch.autocast("cpu", BF16, enabled=narrow):
            output = step(unet, rows, learns)
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
        del output
        return sum(size for place, size in storages.items() if place not in own)

    few, many = whole(2), whole(6)
    return (many - few) / 4, few - (many - few) / 2


def counted(learns, dtype, device):
    with torch.device("meta"):
        skeleton = made(learns, dtype)
    autocast = Autocast(device, BF16) if device is not None else None
    return learning(skeleton, lambda: step(skeleton, 1, learns), checkpointed=False, autocast=autocast)


@pytest.mark.parametrize("case", CASES)
def test_what_is_counted_is_kept(case):
    learns, dtype, narrow = CASES[case]
    count = counted(learns, dtype, "cpu" if narrow else None)
    activations, copies = kept(*CASES[case])
    assert count.activations == pytest.approx(activations, rel=0.08)
    assert count.copies == pytest.approx(copies, rel=0.08, abs=50_000)


def test_norms_are_kept_wide_on_a_gpu():
    """Autocast computes them in fp32 there, and what follows them up to the next convolution."""
    on_cpu, on_gpu = (counted("all", torch.float32, device).activations for device in ("cpu", "cuda"))
    assert 1.25 < on_gpu / on_cpu < 2
