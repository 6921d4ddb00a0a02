"""Rules of samplers: what those of diffusers can do with the model's noise schedule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runner.language import rules_flow
from runner.language.drawn import SCHEDULED_HERE, option, samplers, step_counts
from runner.language.view import Rule, Told, View, rule

_SIGMAS = ["use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas"]
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
# What solvers cannot do where the noise ends at zero: (type, key, values).
_NOT_AT_ZERO: list[tuple[str, str, tuple[Any, ...]]] = [
    ("DPMSolverMultistep", "algorithm_type", ("dpmsolver", "sde-dpmsolver")),
    ("DPMSolverSinglestep", "algorithm_type", ("dpmsolver",)),
    ("UniPCMultistep", "solver_type", ("bh1",)),
    ("UniPCMultistep", "predict_x0", (False,)),
    ("UniPCMultistep", "lower_order_final", (False,)),
]
_PNDM_WARMUP = 4  # Runge-Kutta steps of PNDM's start
_SAME_AS_TRAINING = [
    "prediction_type",
    "num_train_timesteps",
    "beta_schedule",
    "beta_start",
    "beta_end",
    "rescale_betas_zero_snr",
]


def _sections(view: View) -> list[str]:
    """Every section that may hold a sampler's options, whether it is drawn with or not."""
    return ["scheduler", "sampling.scheduler", *view.entries("sampling.matrix.scheduler")]


@rule("inference-steps")
def no_more_steps_than_trained(view: View) -> Iterator[Told]:
    for section in samplers(view):
        known = option(view, section, "num_train_timesteps")
        for place, steps in step_counts(view):
            if known is not None and steps > known:
                yield Told(
                    place if view.written(place) else "scheduler.num_train_timesteps",
                    f"num_inference_steps ({steps}) must not be above the schedule's num_train_timesteps ({known})",
                )


@rule("sampler")
def one_spacing_of_sigmas(view: View) -> Iterator[Told]:
    for section in _sections(view):
        chosen = [key for key in _SIGMAS if view.get(f"{section}.{key}")]
        if len(chosen) > 1:
            yield Told(f"{section}.{chosen[1]}", f"use only one of {', '.join(chosen)}")


@rule("sampler")
def solver_ends_where_it_can(view: View) -> Iterator[Told]:
    """These are not defined at noise level zero, which is the default end: diffusers refuses them, or draws NaN."""
    for section in _sections(view):
        if view.get(f"{section}.final_sigmas_type") == "sigma_min":
            continue
        first_order = view.get(f"{section}.solver_order") == 1
        for kind, key, values in _NOT_AT_ZERO:
            value = view.get(f"{section}.{key}")
            if (
                view.get(f"{section}.type") == kind
                and value in values
                and not (key == "lower_order_final" and first_order)
            ):
                yield Told(f"{section}.{key}", f"{key}: {_word(value)} needs final_sigmas_type: sigma_min")


@rule("inference-steps")
def lcm_has_its_own_steps(view: View) -> Iterator[Told]:
    """LCM picks its steps from those of its distillation, 50 in diffusers' class."""
    for section in samplers(view):
        own = view.get(f"{section}.original_inference_steps")
        most = 50 if own is None and view.get("model.type") in SCHEDULED_HERE else own
        for place, steps in step_counts(view):
            if view.get(f"{section}.type") == "LCM" and most is not None and steps > most:
                yield Told(
                    place,
                    f"LCM draws at most original_inference_steps ({most}) steps (got {steps}): 4 to 8 are usual",
                )


@rule("sampler")
def sampler_knows_zero_snr(view: View) -> Iterator[Told]:
    for section in samplers(view):
        kind = view.get(f"{section}.type")
        if option(view, section, "rescale_betas_zero_snr") and kind in _NO_ZERO_SNR:
            yield Told(
                f"{section}.type",
                f"{kind} cannot draw from a schedule with rescale_betas_zero_snr: use DDIM or EulerDiscrete",
            )


@rule("sampler")
def sampler_knows_the_prediction(view: View) -> Iterator[Told]:
    for section in samplers(view):
        kind = view.get(f"{section}.type")
        if option(view, section, "prediction_type") == "sample" and kind in _NO_SAMPLE_PREDICTION:
            yield Told(
                f"{section}.type", f"{kind} cannot draw from a model that predicts the picture (sample): use DDIM"
            )


@rule("sampler")
def pndm_has_its_first_steps(view: View) -> Iterator[Told]:
    """Stable Diffusion's own scheduler skips them, so nothing is said of a model whose scheduler is not seen."""
    for section in samplers(view):
        own = view.get(f"{section}.skip_prk_steps")
        unknown = own is None and view.get("model.type") == "pretrained"
        for place, steps in step_counts(view):
            if view.get(f"{section}.type") == "PNDM" and steps < _PNDM_WARMUP and not own and not unknown:
                yield Told(
                    place,
                    f"PNDM needs {_PNDM_WARMUP} steps or more (got {steps}): raise them, or give it "
                    "skip_prk_steps: true",
                )


@rule("sampler")
def offset_stays_within_the_schedule(view: View) -> Iterator[Told]:
    """'leading' draws at i * (T // steps) + steps_offset for i = steps - 1 … 0."""
    for section in samplers(view):
        known = option(view, section, "num_train_timesteps")
        offset, spacing = option(view, section, "steps_offset"), option(view, section, "timestep_spacing")
        if view.get(f"{section}.type") not in _TABLE_OF_TIMESTEPS or not known or offset is None:
            continue
        own = "scheduler" if view.get(f"{section}.steps_offset") is None else section
        for _, steps in step_counts(view):
            most = known - 1 - known // steps * (steps - 1)
            if steps <= known and spacing == "leading" and offset > most:
                yield Told(
                    f"{own}.steps_offset",
                    f"steps_offset {offset} leads past the last timestep; with {steps} steps {most} is the most",
                )


@rule("sampler")
def sampler_agrees_with_training(view: View) -> Iterator[Told]:
    """A sampler is made from the schedule the model was trained with; changing that gives wrong pictures."""
    if view.get("model.type") not in SCHEDULED_HERE:
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
    kinds = [view.get(f"{section}.type") for section in samplers(view)]
    in_matrix = view.entries("sampling.matrix.eta")
    if any(view.get(eta) for eta in in_matrix or ["sampling.eta"]) and not {None, "DDIM"} & set(kinds):
        yield Told(
            "sampling.matrix.eta" if in_matrix else "sampling.eta",
            f"eta has no effect with {' or '.join(dict.fromkeys(kinds))}: it goes with sampling.scheduler: "
            "{type: DDIM}",
            "warning",
        )


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


RULES: list[Rule] = [
    no_more_steps_than_trained,
    *rules_flow.RULES,
    one_spacing_of_sigmas,
    solver_ends_where_it_can,
    lcm_has_its_own_steps,
    sampler_knows_zero_snr,
    sampler_knows_the_prediction,
    pndm_has_its_first_steps,
    offset_stays_within_the_schedule,
    sampler_agrees_with_training,
    eta_is_of_ddim,
]
