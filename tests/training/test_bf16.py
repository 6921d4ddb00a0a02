"""Training in bf16 against a plain loop."""

import pytest
import torch
from diffusers.training_utils import cast_training_params

from tests.training.finetune import CACHES, Samples, assert_equal_work, recipe, run, weights
from tests.training.plain import Plain
from tests.training.test_adapters import add_lora, lora, published

pytestmark = pytest.mark.slow
BF16 = {"compute": {"mixed_precision": "bf16", "upcast_attention": False}}  # which plain loops have not
# Where one number's last bit in single precision differs, its eight bits are rounded otherwise, and the rest follows.
LOOSE = {"first": 1e-4, "later": 2e-2, "moved": 0.1}


def plain_loop(folder, made, halved):
    """A plain loop under autocast, whose parts `halved` are in bf16."""
    plain = Plain(folder, Samples(made))
    for name in halved:
        getattr(plain.pipeline, name).to(torch.bfloat16)
    plain.autocast = torch.autocast("cpu", torch.bfloat16)
    return plain


def test_a_lora_on_a_model_in_bf16(here, toy):
    folder = toy("stable_diffusion")
    adapter = {"type": "lora", "rank": 4, "alpha": 8}
    done = [run(recipe(folder, training=caches, adapter=adapter, **BF16), "--fresh") for caches in CACHES]
    plain = plain_loop(folder, done[0], ("unet", "vae", "text_encoder"))
    matrices = add_lora(plain.pipeline, ["unet"], seed=3, rank=4, alpha=8)
    cast_training_params(plain.pipeline.unet)
    before = published(plain.pipeline, ["unet"], here / "before")
    plain.train((matrices, 1e-3))
    after = published(plain.pipeline, ["unet"], here / "after")
    for made in done:
        assert_equal_work(made, plain, lora(made / "model"), after, before, **LOOSE)


def test_a_model_in_fp32_computes_in_bf16(here, toy):
    """Its frozen parts compute in fp32, with and without caches."""
    folder = toy("stable_diffusion")
    done = [run(recipe(folder, training=caches, **BF16), "--fresh") for caches in CACHES]
    plain = plain_loop(folder, done[0], ())
    unet = plain.pipeline.unet.requires_grad_(True).train()
    plain.train((unet.parameters(), 1e-3))
    for made in done:
        assert_equal_work(made, plain, weights(made / "model"), weights(plain.pipeline), weights(folder), **LOOSE)
