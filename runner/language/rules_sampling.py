"""Rules of sampling: what the samplers of diffusers can do with the model's noise schedule."""

from __future__ import annotations

from collections.abc import Iterator

from runner.language.view import Rule, Told, View, rule

_SIGMAS = ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"]
_NO_ZERO_SNR = {
    "PNDM",
    "LMSDiscrete",
    "HeunDiscrete",
    "KDPM2Discrete",
    "KDPM2AncestralDiscrete",
    "DPMSolverSinglestep",
    "DEISMultistep",
}
_NO_SAMPLE_PREDICTION = {"PNDM", "EulerAncestralDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete"}
_TABLE_OF_TIMESTEPS = {"DDPM", "DDIM", "PNDM"}  # these look a timestep up; others interpolate
_PNDM_WARMUP = 4  # Runge-Kutta steps of PNDM's start
_SAME_AS_TRAINING = [
    "prediction_type",
    "num_train_timesteps",
    "beta_schedule",
    "beta_start",
    "beta_end",
    "rescale_betas_zero_snr",
]


def _sampler(view: View) -> tuple[str, str | None]:
    """The section that names the sampler, and its type; None where the model's own is taken."""
    if view.has("sampling.scheduler"):
        return "sampling.scheduler", view.get("sampling.scheduler.type")
    return "scheduler", view.get("scheduler.type")


def _timesteps(view: View) -> int | None:
    """How many timesteps the model knows; None where only the model can tell."""
    steps: int | None = view.get("scheduler.num_train_timesteps")
    return steps


@rule("inference-steps")
def no_more_steps_than_trained(view: View) -> Iterator[Told]:
    steps, known = view.get("sampling.num_inference_steps"), _timesteps(view)
    if steps is not None and known is not None and steps > known:
        path = (
            "sampling.num_inference_steps"
            if view.written("sampling.num_inference_steps")
            else "scheduler.num_train_timesteps"
        )
        yield Told(
            path, f"num_inference_steps ({steps}) must not be above the schedule's num_train_timesteps ({known})"
        )


@rule("noise-preview")
def preview_within_the_schedule(view: View) -> Iterator[Told]:
    known = _timesteps(view)
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


@rule("sampler")
def flow_needs_a_flow_model(view: View) -> Iterator[Told]:
    section, kind = _sampler(view)
    pixel = "pixel_unet" in (view.get("model.type"), view.get("model.family"))
    if kind == "FlowMatchEulerDiscrete" and pixel:
        yield Told(
            f"{section}.type",
            "FlowMatchEulerDiscrete draws from flow matching models; a pixel_unet is none: use DDIM or another",
        )


@rule("sampler")
def one_spacing_of_sigmas(view: View) -> Iterator[Told]:
    for section in ("scheduler", "sampling.scheduler"):
        chosen = [key for key in _SIGMAS if view.get(f"{section}.{key}")]
        if len(chosen) > 1:
            yield Told(f"{section}.{chosen[1]}", f"use only one of {', '.join(chosen)}")


@rule("sampler")
def solver_ends_where_it_can(view: View) -> Iterator[Told]:
    """DPM-Solver without '++' is not defined at noise level zero, which is the default end."""
    for section in ("scheduler", "sampling.scheduler"):
        kind, final = view.get(f"{section}.algorithm_type"), view.get(f"{section}.final_sigmas_type")
        if kind in ("dpmsolver", "sde-dpmsolver") and final != "sigma_min":
            yield Told(f"{section}.algorithm_type", f"algorithm_type: {kind} needs final_sigmas_type: sigma_min")


@rule("sampler")
def sampler_knows_zero_snr(view: View) -> Iterator[Told]:
    section, kind = _sampler(view)
    if view.get("scheduler.rescale_betas_zero_snr") and kind in _NO_ZERO_SNR:
        yield Told(
            f"{section}.type",
            f"{kind} cannot draw from a schedule with rescale_betas_zero_snr: use DDIM or EulerDiscrete",
        )


@rule("sampler")
def sampler_knows_the_prediction(view: View) -> Iterator[Told]:
    section, kind = _sampler(view)
    if view.get("scheduler.prediction_type") == "sample" and kind in _NO_SAMPLE_PREDICTION:
        yield Told(f"{section}.type", f"{kind} cannot draw from a model that predicts the picture (sample): use DDIM")


@rule("sampler")
def pndm_has_its_first_steps(view: View) -> Iterator[Told]:
    section, kind = _sampler(view)
    steps = view.get("sampling.num_inference_steps")
    if kind == "PNDM" and steps is not None and steps < _PNDM_WARMUP and not view.get(f"{section}.skip_prk_steps"):
        yield Told(
            "sampling.num_inference_steps",
            f"PNDM needs {_PNDM_WARMUP} steps or more (got {steps}): raise them, or give it skip_prk_steps: true",
        )


@rule("sampler")
def offset_stays_within_the_schedule(view: View) -> Iterator[Told]:
    """'leading' draws at i * (T // steps) + steps_offset for i = steps - 1 … 0."""
    section, kind = _sampler(view)
    known, steps = _timesteps(view), view.get("sampling.num_inference_steps")
    if kind not in _TABLE_OF_TIMESTEPS or not known or not steps or steps > known:
        return
    own = "scheduler" if view.get(f"{section}.steps_offset") is None else section
    offset, spacing = view.get(f"{own}.steps_offset"), view.get(f"{section}.timestep_spacing")
    spacing = spacing or view.get("scheduler.timestep_spacing")
    most = known - 1 - known // steps * (steps - 1)
    if offset is not None and spacing == "leading" and offset > most:
        yield Told(
            f"{own}.steps_offset",
            f"steps_offset {offset} leads past the last timestep; with {steps} steps {most} is the most",
        )


@rule("sampler")
def sampler_agrees_with_training(view: View) -> Iterator[Told]:
    """A sampler is made from the schedule the model was trained with; changing that gives wrong pictures."""
    if view.get("model.type") != "pixel_unet":
        return
    for key in _SAME_AS_TRAINING:
        trained, drawn = view.get(f"scheduler.{key}"), view.get(f"sampling.scheduler.{key}")
        if drawn is not None and drawn != trained:
            yield Told(
                f"sampling.scheduler.{key}",
                f"the model is trained with {key}: {_word(trained)}; drawing with {_word(drawn)} gives wrong pictures: "
                "remove the line",
                "warning",
            )


@rule("unused-key")
def eta_is_of_ddim(view: View) -> Iterator[Told]:
    _, kind = _sampler(view)
    if view.get("sampling.eta") and kind not in (None, "DDIM"):
        yield Told(
            "sampling.eta", f"eta has no effect with {kind}: it goes with sampling.scheduler: {{type: DDIM}}", "warning"
        )


@rule("trajectory")
def trajectory_has_moments(view: View) -> Iterator[Told]:
    moments, steps = view.get("sampling.trajectory"), view.get("sampling.num_inference_steps")
    if moments is not None and steps is not None and moments > steps + 1:
        yield Told(
            "sampling.trajectory",
            f"a drawing of {steps} steps has no {moments} moments: all {steps + 1} are shown, the noise among them",
            "warning",
        )


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


RULES: list[Rule] = [
    no_more_steps_than_trained,
    preview_within_the_schedule,
    preview_needs_a_picture,
    guidance_needs_classes,
    labels_need_classes,
    flow_needs_a_flow_model,
    one_spacing_of_sigmas,
    solver_ends_where_it_can,
    sampler_knows_zero_snr,
    sampler_knows_the_prediction,
    pndm_has_its_first_steps,
    offset_stays_within_the_schedule,
    sampler_agrees_with_training,
    eta_is_of_ddim,
    trajectory_has_moments,
]
