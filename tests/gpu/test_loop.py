"""Between two logged steps the processor gives a GPU its work and never waits for it."""

import pytest
import torch

from tests.gpu.runs import after_each_step, losses, pixels, run, tuned

TRAINING = {"max_train_steps": 8, "logging_steps": 100, "checkpointing_steps": None, "ema": {"decay": 0.9}}
LORA = {"adapter": {"type": "lora", "rank": 4, "dropout": 0.1}}
FP16 = {"mixed_precision": "fp16", "channels_last": True}
WORK = {
    "pixels": lambda toy: pixels(training=TRAINING),
    "pixels-fp16": lambda toy: pixels(training=TRAINING, compute=FP16),
    "classes": lambda toy: pixels(model={"num_class_embeds": "auto"}, training={**TRAINING, "label_dropout_rate": 0.3}),
    "weighted": lambda toy: pixels(training={**TRAINING, "snr_gamma": 5.0, "timestep_sampling": "logit_normal"}),
    "full": lambda toy: tuned(toy("stable_diffusion"), precision="bf16", training=TRAINING),
    "lora": lambda toy: tuned(toy("stable_diffusion"), precision="fp16", training=TRAINING, **LORA),
    "lora-xl": lambda toy: tuned(toy("stable_diffusion_xl"), precision="bf16", training=TRAINING, **LORA),
    "checkpointing": lambda toy: tuned(
        toy("stable_diffusion"), precision="bf16", training={**TRAINING, "gradient_checkpointing": True}
    ),
}


@pytest.mark.parametrize("name", WORK)
def test_nothing_waits_for_the_gpu(here, toy, name):
    """From the second step, when the optimizer has its state, to the last, whose loss is fetched."""
    steps = []

    def forbid(trainer):
        steps.append(trainer.step)
        torch.cuda.set_sync_debug_mode("error" if 2 <= trainer.step < TRAINING["max_train_steps"] else "default")

    with after_each_step(forbid):
        folder = run(WORK[name](toy), "--debug")  # a wait is an error, whose place is shown
    assert steps == list(range(1, 9))
    assert losses(folder)
