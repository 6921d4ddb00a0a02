"""Fine-tuning on a GPU: what rests is away from it, and comes back to draw on the way."""

from itertools import product

import pytest

from tests.gpu.runs import DEVICE, SAMPLING, after_each_step, losses, pixels, run, tuned
from tests.training.finetune import UNCACHED, log

TEXT = {"text_encoder", "text_encoder_2"}
METHODS = {  # what a recipe has besides, and what is at rest while it trains
    "lora": ({"adapter": {"type": "lora", "rank": 4}}, {"vae", *TEXT}),
    "word": ({"adapter": {"type": "textual_inversion", "token": "<rose>", "num_vectors": 2}}, {"vae"}),
    "full": ({}, {"vae", *TEXT}),
    "text": ({"freeze": ["vae"]}, {"vae"}),
    "uncached": ({"training": UNCACHED}, set()),
}
WAY = {"max_train_steps": 4, "sample_steps": 2, "validation_split": 0.2, "validation_loss_steps": 2}


def places(trainer):
    """The kind of device on which each part's weights are."""
    parts = trainer.family.parts.items()
    return {name: {p.device.type for p in part.parameters()} for name, part in parts}


def asked(folder, precision, training=(), **sections):
    """A recipe that looks at itself on the way and draws at its end."""
    return tuned(folder, precision=precision, training={**WAY, **dict(training)}, sampling=SAMPLING, **sections)


def ended_well(folder):
    assert losses(folder)
    assert [step for step, loss in log(folder, "step", "validation_loss") if loss is not None and loss < 10] == [2, 4]
    samples = {path.name for path in (folder / "samples").iterdir()}
    assert {"step-000002.png", "step-000004.png", "progress.gif", "grid.png"} <= samples
    assert any((folder / "model").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("method", "precision"),
    [
        *product(["lora"], ["fp32", "bf16", "fp16"]),
        ("word", "fp16"),
        ("full", "bf16"),
        ("text", "fp16"),
        ("uncached", "bf16"),
    ],
)
def test_parts_at_rest_are_away_and_come_back_to_draw(here, toy, method, precision):
    sections, resting = METHODS[method]
    seen = []
    with after_each_step(lambda trainer: seen.append(places(trainer))):
        folder = run(asked(toy("stable_diffusion"), precision, **sections))
    assert len(seen) == 4
    for where in seen:
        assert where == {name: {"cpu" if name in resting else DEVICE} for name in where}
    ended_well(folder)


@pytest.mark.parametrize("method", ["lora", "word"])
def test_sdxl_learns_in_fp16(here, toy, method):
    ended_well(run(asked(toy("stable_diffusion_xl"), "fp16", **METHODS[method][0])))


def test_a_prior_is_drawn_and_learned(here, toy):
    prior = {"prompt": "a flower", "num_images": 3, "num_inference_steps": 2}
    data = {"num_images": 6, "instance_prompt": "a sks flower", "prior": prior}
    ended_well(run(asked(toy("stable_diffusion"), "fp16", data=data, **METHODS["lora"][0])))
    assert len(list((here / "cache" / "recipe" / "prior").glob("*/*.png"))) == 3


@pytest.mark.parametrize(("method", "precision"), [("lora", "fp32"), ("text", "fp16")])
def test_gradients_are_the_same_with_checkpointing(here, toy, method, precision):
    sections = {"precision": precision, **METHODS[method][0]}
    kept, anew = (
        losses(run(tuned(toy("stable_diffusion"), training={"max_train_steps": 4, **on}, **sections), "--fresh"))
        for on in ({}, {"gradient_checkpointing": True})
    )
    assert anew == pytest.approx(kept, rel=1e-3 if precision == "fp32" else 2e-2)


def test_a_vae_and_a_model_around_it_learn_from_nothing(here):
    few = {"max_train_steps": 2, "sample_steps": 1}
    sizes = {"block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4}
    fast = {"mixed_precision": "auto", "allow_tf32": "auto", "channels_last": "auto", "compile": "auto"}
    vae = pixels(model={**sizes, "type": "autoencoder_kl", "latent_channels": 4}, training=few, compute=fast)
    del vae["scheduler"]
    first = run({**vae, "name": "vae"})
    unet = {**sizes, "type": "latent_unet", "vae": {"id": str(first / "model")}}
    second = run(pixels(model=unet, training=few, compute=fast, sampling=SAMPLING))
    assert losses(first) and losses(second)
    assert (second / "samples" / "grid.png").is_file()
