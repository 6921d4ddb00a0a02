"""Rules of training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runner.language.view import Rule, Told, View, rule

# A key that does something only where another has a certain value: (key, the other, its values, the mend).
_ONLY_WITH: list[tuple[str, str, tuple[Any, ...], str]] = [
    (
        "training.lr_num_cycles",
        "training.lr_scheduler",
        ("cosine_with_restarts",),
        "lr_scheduler: cosine_with_restarts",
    ),
    ("training.lr_power", "training.lr_scheduler", ("polynomial",), "lr_scheduler: polynomial"),
    ("training.ema.inv_gamma", "training.ema.use_ema_warmup", (True,), "use_ema_warmup: true"),
    ("training.ema.power", "training.ema.use_ema_warmup", (True,), "use_ema_warmup: true"),
    ("scheduler.clip_sample_range", "scheduler.clip_sample", (True,), "clip_sample: true"),
    ("scheduler.dynamic_thresholding_ratio", "scheduler.thresholding", (True,), "thresholding: true"),
    ("scheduler.sample_max_value", "scheduler.thresholding", (True,), "thresholding: true"),
    (
        "scheduler.beta_start",
        "scheduler.beta_schedule",
        ("linear", "scaled_linear", "sigmoid"),
        "another beta_schedule",
    ),
    ("scheduler.beta_end", "scheduler.beta_schedule", ("linear", "scaled_linear", "sigmoid"), "another beta_schedule"),
    ("training.logit_mean", "training.timestep_sampling", ("logit_normal",), "timestep_sampling: logit_normal"),
    ("training.logit_std", "training.timestep_sampling", ("logit_normal",), "timestep_sampling: logit_normal"),
    ("model.attn_norm_num_groups", "model.add_attention", (True,), "add_attention: true"),
]
# What only a model with classes reads.
_CLASS_KEYS = ["training.label_dropout_rate", "data.label_column", "data.label_by"]


@rule("steps-or-epochs")
def steps_or_epochs(view: View) -> Iterator[Told]:
    if not view.has("training"):
        return
    steps, epochs = view.get("training.max_train_steps"), view.get("training.num_train_epochs")
    if steps is None and epochs is None:
        yield Told("training", "training needs its length: give max_train_steps or num_train_epochs")
    if steps is not None and epochs is not None:
        yield Told("training.num_train_epochs", "give max_train_steps or num_train_epochs, not both")


@rule("past-the-end")
def warmup_ends(view: View) -> Iterator[Told]:
    steps, warmup = view.get("training.max_train_steps"), view.get("training.lr_warmup_steps")
    if steps is not None and warmup >= steps:
        yield Told(
            "training.lr_warmup_steps",
            f"the warmup ({warmup} steps) does not end before the training does ({steps} steps): "
            "the learning rate never reaches its full size",
            "warning",
        )


@rule("sections")
def grids_are_drawn_as_sampling_says(view: View) -> Iterator[Told]:
    reconstructs = view.get("model.type") == "autoencoder_kl"
    if view.get("training.sample_steps") is not None and not view.has("sampling") and not reconstructs:
        told = "grids are drawn as 'sampling:' says: add that section, or remove sample_steps"
        yield Told("training.sample_steps", told)


@rule("past-the-end")
def intervals_come_round(view: View) -> Iterator[Told]:
    steps = view.get("training.max_train_steps")
    for key, what in (
        ("checkpointing_steps", "checkpoint but the last"),
        ("sample_steps", "grid"),
        ("logging_steps", "line in the log but the last"),
    ):
        path = f"training.{key}"
        every = view.get(path)
        if steps is not None and every is not None and every > steps and view.chosen(path):
            yield Told(
                path,
                f"{key} ({every}) is past the end of the training ({steps} steps): there will be no {what}",
                "warning",
            )


@rule("past-the-end")
def ema_begins(view: View) -> Iterator[Told]:
    steps, after = view.get("training.max_train_steps"), view.get("training.ema.update_after_step")
    if steps is not None and after is not None and after >= steps:
        yield Told(
            "training.ema.update_after_step",
            f"averaging would begin after the end of the training ({steps} steps)",
            "warning",
        )


@rule("ema")
def ema_bounds(view: View) -> Iterator[Told]:
    low, high = view.get("training.ema.min_decay"), view.get("training.ema.decay")
    if low is not None and high is not None and low > high:
        yield Told("training.ema.min_decay", f"min_decay ({low}) must not be above decay ({high})")
    if high == 1:
        yield Told(
            "training.ema.decay",
            "with decay: 1 the average stays at the random weights of the start: use 0.9999 or less",
            "warning",
        )


@rule("learning-rate")
def learning_rate_suits(view: View) -> Iterator[Told]:
    rate, kind = view.get("training.learning_rate"), view.get("training.optimizer.type")
    path = "training.learning_rate"
    if rate == 0:
        yield Told(path, "learning_rate is 0: nothing would be learned", "warning")
    elif kind == "prodigy" and rate != 1:
        at = path if view.written(path) else "training.optimizer.type"
        yield Told(at, f"prodigy finds its own step size and expects learning_rate: 1 (is {rate})", "warning")
    elif kind in ("adam", "adamw", "adamw_8bit") and rate is not None and rate >= 0.01:
        yield Told(path, f"learning_rate {rate} is very high for {kind}; 1e-5 to 1e-3 is usual", "warning")


@rule("learning-rate")
def warmup_has_a_schedule(view: View) -> Iterator[Told]:
    if view.get("training.lr_scheduler") == "constant" and view.get("training.lr_warmup_steps"):
        yield Told(
            "training.lr_warmup_steps", "lr_scheduler: constant has no warmup: use constant_with_warmup", "warning"
        )


@rule("optimizer")
def nesterov_needs_momentum(view: View) -> Iterator[Told]:
    if view.get("training.optimizer.nesterov") and not view.get("training.optimizer.momentum"):
        yield Told("training.optimizer.nesterov", "nesterov needs momentum above 0, such as 0.9")


@rule("unused-key")
def written_keys_are_used(view: View) -> Iterator[Told]:
    for path, other, values, mend in _ONLY_WITH:
        if view.chosen(path) and view.has(path) and view.get(other) not in values:
            name, switch = path.rpartition(".")[2], other.rpartition(".")[2]
            now = str(view.get(other)).lower() if isinstance(view.get(other), bool) else view.get(other)
            yield Told(path, f"{name} has no effect with {switch}: {now}; it goes with {mend}", "warning")


@rule("unused-key")
def class_keys_need_classes(view: View) -> Iterator[Told]:
    if view.get("model.type") != "pixel_unet" or view.has("model.num_class_embeds"):
        return
    for path in _CLASS_KEYS:
        if view.chosen(path) and view.has(path):
            yield Told(
                path,
                f"{path.rpartition('.')[2]} has no effect: the model has no classes; give model.num_class_embeds: auto",
                "warning",
            )


RULES: list[Rule] = [
    steps_or_epochs,
    warmup_ends,
    grids_are_drawn_as_sampling_says,
    intervals_come_round,
    ema_begins,
    ema_bounds,
    learning_rate_suits,
    warmup_has_a_schedule,
    nesterov_needs_momentum,
    written_keys_are_used,
    class_keys_need_classes,
]
