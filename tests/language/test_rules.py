"""Cross-field rules: where they speak, where they keep still. The errors among them lie in tests/recipes/bad/."""
# ruff: noqa: E501 (exact texts)

import pytest

from runner.language.rules import RULES
from tests.language.saying import found

TRAIN = """version: 1
name: trial
data: {type: builtin, resolution: 32}
model: {type: pixel_unet, block_out_channels: [32, 64]}
scheduler: {beta_schedule: squaredcos_cap_v2}
training: {max_train_steps: 1000}
sampling: {num_inference_steps: 20}
"""
DRAW = """version: 1
name: trial
model: {type: pretrained, id: ./model}
sampling: {num_inference_steps: 20}
"""


@pytest.mark.parametrize(
    ("overrides", "path", "message"),
    [
        (["training.lr_warmup_steps=1000", "training.lr_scheduler=cosine"], "training.lr_warmup_steps", "the warmup (1000 steps) does not end before the training does (1000 steps): the learning rate never reaches its full size"),
        (["training.lr_warmup_steps=10"], "training.lr_warmup_steps", "lr_scheduler: constant has no warmup: use constant_with_warmup"),
        (["training.checkpointing_steps=1001"], "training.checkpointing_steps", "checkpointing_steps (1001) is past the end of the training (1000 steps): there will be no checkpoint but the last"),
        (["training.sample_steps=1001"], "training.sample_steps", "sample_steps (1001) is past the end of the training (1000 steps): there will be no grid"),
        (["training.logging_steps=1001"], "training.logging_steps", "logging_steps (1001) is past the end of the training (1000 steps): there will be no line in the log but the last"),
        (["training.ema={update_after_step: 1000}"], "training.ema.update_after_step", "averaging would begin after the end of the training (1000 steps)"),
        (["training.ema.decay=1"], "training.ema.decay", "with decay: 1 the average stays at the random weights of the start: use 0.9999 or less"),
        (["training.ema.inv_gamma=2"], "training.ema.inv_gamma", "inv_gamma has no effect with use_ema_warmup: false; it goes with use_ema_warmup: true"),
        (["training.lr_power=2"], "training.lr_power", "lr_power has no effect with lr_scheduler: constant; it goes with lr_scheduler: polynomial"),
        (["training.learning_rate=0"], "training.learning_rate", "learning_rate is 0: nothing would be learned"),
        (["training.learning_rate=0.02"], "training.learning_rate", "learning_rate 0.02 is very high for adamw; 1e-5 to 1e-3 is usual"),
        (["training.optimizer={type: prodigy}"], "training.optimizer.type", "prodigy finds its own step size and expects learning_rate: 1 (is 0.0001)"),
        (["scheduler.beta_end=0.05"], "scheduler.beta_end", "beta_end has no effect with beta_schedule: squaredcos_cap_v2; it goes with another beta_schedule"),
        (["scheduler={num_train_timesteps: 100}"], "scheduler.num_train_timesteps", "the last timestep still holds 60% of the picture, but drawing starts from pure noise: raise beta_end or num_train_timesteps, or use beta_schedule: squaredcos_cap_v2"),
        (["scheduler.rescale_betas_zero_snr=true", "scheduler.prediction_type=v_prediction"], "scheduler.rescale_betas_zero_snr", "zero terminal SNR has no effect on pictures drawn with timestep_spacing: leading: use trailing"),
        (["scheduler.clip_sample=false", "scheduler.clip_sample_range=2"], "scheduler.clip_sample_range", "clip_sample_range has no effect with clip_sample: false; it goes with clip_sample: true"),
        (["sampling.eta=0.5"], "sampling.eta", "eta has no effect with DDPM: it goes with sampling.scheduler: {type: DDIM}"),
        (["sampling.trajectory=22"], "sampling.trajectory", "a drawing of 20 steps has no 22 moments: all 21 are shown, the noise among them"),
        (["sampling.scheduler={type: DDIM, prediction_type: sample}"], "sampling.scheduler.prediction_type", "the model is trained with prediction_type: epsilon; drawing with sample gives wrong pictures: remove the line"),
        (["data.label_by=colour"], "data.label_by", "label_by has no effect: the model has no classes; give model.num_class_embeds: auto"),
        (["training.label_dropout_rate=0.2"], "training.label_dropout_rate", "label_dropout_rate has no effect: the model has no classes; give model.num_class_embeds: auto"),
        (["data={type: hub, id: a/b, caption_column: text}"], "data.caption_column", "nothing reads captions here: a pixel_unet knows no text"),
        (["model.add_attention=false", "model.attn_norm_num_groups=8"], "model.attn_norm_num_groups", "attn_norm_num_groups has no effect with add_attention: false; it goes with add_attention: true"),
    ],
)  # fmt: skip
def test_warnings(overrides: list[str], path: str, message: str) -> None:
    assert found(TRAIN, overrides) == [("warning", path, message)]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["training.lr_warmup_steps=999", "training.lr_scheduler=cosine"],
        ["training.checkpointing_steps=1000", "training.sample_steps=1000", "training.logging_steps=1000"],
        ["training.max_train_steps=100"],  # checkpointing_steps is 500 by default
        ["training.max_train_steps=null", "training.num_train_epochs=1", "training.sample_steps=100000"],
        ["training.label_dropout_rate=0.1"],  # written, but as it is by default
        [
            "model.num_class_embeds=auto",
            "training.label_dropout_rate=0.3",
            "data.label_by=colour",
            "sampling.guidance_scale=4",
        ],
        ["model.num_class_embeds=auto", "training.label_dropout_rate=0"],
        ["scheduler.beta_schedule=linear", "scheduler.beta_end=0.03"],
        ["scheduler={type: DDPM}"],
        ["sampling.scheduler={type: DDIM, prediction_type: epsilon}", "sampling.eta=1"],
        ["sampling.num_inference_steps=1000", "sampling.noise_preview=[0, 999]"],
        ["model.attention_head_dim=null"],
        ["model.block_out_channels=[24, 48]", "model.norm_num_groups=8"],
        ["data.resolution=34"],
        ["sampling=null"],
        ["freeze=[]"],
        ["compute={device: cuda, mixed_precision: fp16}"],
        ["compute={device: cpu, mixed_precision: bf16}"],
    ],
)
def test_silence(overrides: list[str]) -> None:
    assert found(TRAIN, overrides) == []


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], []),
        (["scheduler={type: FlowMatchEulerDiscrete}"], []),
        (["model.family=pixel_unet", "scheduler={type: FlowMatchEulerDiscrete}"], [("error", "scheduler.type", "FlowMatchEulerDiscrete draws from flow matching models; a pixel_unet is none: use DDIM or another")]),
        (["scheduler={type: EulerDiscrete}", "sampling.eta=0.5"], [("warning", "sampling.eta", "eta has no effect with EulerDiscrete: it goes with sampling.scheduler: {type: DDIM}")]),
        (["sampling.eta=0.5"], []),  # the model's own sampler may be DDIM
        (["scheduler={type: DDIM, num_train_timesteps: 10}"], [("error", "sampling.num_inference_steps", "num_inference_steps (20) must not be above the schedule's num_train_timesteps (10)")]),
        (["freeze=[vae]"], [("warning", "freeze", "nothing is trained, so freeze has no effect")]),
        (["data={type: builtin}"], [("warning", "data", "nothing uses the data: there is no 'training:' section")]),
        (["data={type: builtin}", "sampling.noise_preview=[1]"], []),
        (["sampling.noise_preview=[1]"], [("error", "sampling.noise_preview", "a noise preview shows a training picture: add a 'data:' section")]),
        (["sampling.guidance_scale=3"], []),  # only the model can tell
        (["model.id=data:text/plain,x"], [("error", "model.id", "model.id: URLs are refused: give owner/name on the hub, or a path on this machine")]),
        (["model.id=git+ssh://x"], [("error", "model.id", "model.id: URLs are refused: give owner/name on the hub, or a path on this machine")]),
        (["model.id=hf://a/b"], [("error", "model.id", "model.id: URLs are refused: give owner/name on the hub, or a path on this machine")]),
        (["model.id=../../x"], []),  # a path
        (["name=com1"], [("error", "name", "name: 'com1' is refused: it names a device on Windows; choose another")]),
        (["name=roses."], [("error", "name", "name must not end in '.': Windows drops the dot from the folder's name")]),
        (["sampling=null"], [("error", "name", "nothing to do: add a 'training:' section, a 'sampling:' section or both")]),
    ],
)  # fmt: skip
def test_recipes_that_only_draw(overrides: list[str], expected: list[tuple[str, str, str]]) -> None:
    assert found(DRAW, overrides) == expected


@pytest.mark.parametrize(
    ("overrides", "paths"),
    [
        (
            ["training.max_train_steps=x", "training.lr_warmup_steps=5000", "training.lr_scheduler=linear"],
            ["training.max_train_steps"],
        ),
        (["training.max_train_step=100", "training.max_train_steps=null"], ["training.max_train_step"]),
        (["model.type=xyzzy", "data.resolution=33"], ["model.type"]),
        (["model.block_out_channels=[32, x]", "data.resolution=33"], ["model.block_out_channels.1"]),
        (["samplng.eta=1", "sampling=null", "training=null"], ["samplng"]),
    ],
)
def test_a_rule_keeps_still_about_keys_that_are_broken_already(overrides: list[str], paths: list[str]) -> None:
    assert [path for _, path, _ in found(TRAIN, overrides)] == paths


def test_the_schedules_end_is_computed_as_diffusers_does() -> None:
    torch_schedules = pytest.importorskip("diffusers")
    for schedule in ("linear", "scaled_linear", "sigmoid"):
        for steps in (50, 400):
            scheduler = torch_schedules.DDPMScheduler(steps, beta_schedule=schedule)
            left = float(scheduler.alphas_cumprod[-1]) ** 0.5
            said = found(TRAIN, [f"scheduler={{num_train_timesteps: {steps}, beta_schedule: {schedule}}}"])
            assert (left > 0.1) == bool(said)
            if said:
                assert f"holds {left:.0%} of" in said[0][2]


def test_names_of_rules_are_stable_words() -> None:
    assert len(RULES) > 30
    assert all(name.replace("-", "").isalpha() and name.islower() for name, _ in RULES)
