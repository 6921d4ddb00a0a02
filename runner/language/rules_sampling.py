"""Rules of sampling: what a model that is trained here can be asked to draw."""

from __future__ import annotations

from collections.abc import Iterator

from runner.language.drawn import step_counts
from runner.language.view import Rule, Told, View, rule


@rule("noise-preview")
def preview_within_the_schedule(view: View) -> Iterator[Told]:
    known = view.get("scheduler.num_train_timesteps")
    for index, step in enumerate(view.get("sampling.noise_preview") or []):
        if known is not None and step >= known:
            yield Told(f"sampling.noise_preview.{index}", f"timestep {step} is past the schedule's last, {known - 1}")


@rule("noise-preview")
def preview_needs_a_picture(view: View) -> Iterator[Told]:
    if view.get("sampling.noise_preview") and not view.has("data"):
        yield Told("sampling.noise_preview", "a noise preview shows a training picture: add a 'data:' section")


@rule("guidance")
def guidance_needs_classes(view: View) -> Iterator[Told]:
    scale = view.get("sampling.guidance_scale")
    if view.get("model.type") != "pixel_unet" or scale is None or scale == 1:
        return
    if not view.has("model.num_class_embeds"):
        yield Told(
            "sampling.guidance_scale",
            "guidance needs classes: give model.num_class_embeds: auto, or leave guidance_scale at 1",
        )
    elif view.get("training.label_dropout_rate") == 0:
        yield Told(
            "sampling.guidance_scale",
            "guidance needs a model that also learned without classes: give training.label_dropout_rate, such as 0.1",
        )


@rule("labels")
def labels_need_classes(view: View) -> Iterator[Told]:
    if (
        view.get("model.type") == "pixel_unet"
        and view.get("sampling.labels")
        and not view.has("model.num_class_embeds")
    ):
        yield Told("sampling.labels", "the model has no classes to draw: give model.num_class_embeds: auto")


@rule("trajectory")
def trajectory_has_moments(view: View) -> Iterator[Told]:
    moments, counts = view.get("sampling.trajectory"), [steps for _, steps in step_counts(view)]
    if counts and moments is not None and moments > max(counts) + 1:
        yield Told(
            "sampling.trajectory",
            f"a drawing of {max(counts)} steps has no {moments} moments: all {max(counts) + 1} are shown, "
            "the noise among them",
            "warning",
        )


RULES: list[Rule] = [
    preview_within_the_schedule,
    preview_needs_a_picture,
    guidance_needs_classes,
    labels_need_classes,
    trajectory_has_moments,
]
