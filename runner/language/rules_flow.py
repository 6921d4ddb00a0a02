"""Rules of samplers that draw from flow matching models: Stable Diffusion 3 and Flux."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runner.language.drawn import FLOW_FAMILIES, NOISE_FAMILIES, samplers, step_counts
from runner.language.view import Rule, Told, View, rule

FLOW_SOLVERS = frozenset({"DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep"})
"""The samplers of noise that draw from a flow too, if use_flow_sigmas is asked of them."""

FLOW_KEYS = {"use_flow_sigmas": "true", "prediction_type": "flow_prediction"}
"""What asks it of them, as it is written."""

_OWN_SHIFT = {"stable_diffusion_3": "flow_shift: 3.0", "flux": "use_dynamic_shifting: true"}
# What the solvers cannot do with a predicted flow, and what they can do in its place: (key, values, mend).
_NOT_OF_FLOW: list[tuple[str, tuple[Any, ...], str]] = [
    ("algorithm_type", ("dpmsolver",), "dpmsolver++"),
    ("algorithm_type", ("sde-dpmsolver",), "sde-dpmsolver++"),
    ("predict_x0", (False,), "true"),
]


def flow_section(kind: str, shift: str) -> str:
    """What to write to draw a flow with one of FLOW_SOLVERS; `shift` is the key that shifts it, with its value."""
    return f"{{type: {kind}, prediction_type: flow_prediction, use_flow_sigmas: true, {shift}}}"


def _noise_model(view: View) -> str | None:
    """What the model is called, if it is known to predict noise or velocity."""
    model, family = view.get("model.type"), view.get("model.family")
    if "pixel_unet" in (model, family):
        return "pixel_unet"
    if model == "latent_unet":
        return "latent_unet"
    return family if family in NOISE_FAMILIES else None


@rule("sampler")
def flow_needs_a_flow_model(view: View) -> Iterator[Told]:
    name = _noise_model(view)
    if name is None:
        return
    for section in samplers(view):
        if view.get(f"{section}.type") == "FlowMatchEulerDiscrete":
            yield Told(
                f"{section}.type",
                f"FlowMatchEulerDiscrete draws from flow matching models; a {name} is none: use DDIM or another",
            )
        elif key := _flow_key(view, section):
            word = FLOW_KEYS[key]
            yield Told(f"{section}.{key}", f"{key}: {word} is of flow matching models; a {name} is none: take it out")


def _flow_key(view: View, section: str) -> str | None:
    """The key that asks for a flow, if one does."""
    return next((key for key, word in FLOW_KEYS.items() if _word(view.get(f"{section}.{key}")) == word), None)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@rule("sampler")
def flow_model_needs_flow(view: View) -> Iterator[Told]:
    family = view.get("model.family")
    if view.get("model.type") != "pretrained" or family not in FLOW_FAMILIES:
        return
    for section in samplers(view):
        kind = view.get(f"{section}.type")
        if kind in FLOW_SOLVERS:
            if _flow_key(view, section) is None:
                wanted = flow_section(kind, _OWN_SHIFT[family])
                yield Told(f"{section}.type", f"{kind} draws no {family} model without its keys: write {wanted}")
        elif kind not in (None, "FlowMatchEulerDiscrete"):
            known = ", ".join(["FlowMatchEulerDiscrete", *sorted(FLOW_SOLVERS)])
            yield Told(
                f"{section}.type", f"{kind} draws no {family} model, whose noise is of another kind: use one of {known}"
            )


@rule("sampler")
def flow_keys_go_together(view: View) -> Iterator[Told]:
    if _noise_model(view) is not None:
        return
    for section in samplers(view):
        if view.get(f"{section}.type") not in FLOW_SOLVERS:
            continue
        sigmas = view.get(f"{section}.use_flow_sigmas")
        predicts = view.get(f"{section}.prediction_type") == "flow_prediction"
        dynamic = view.get(f"{section}.use_dynamic_shifting")
        if sigmas and not predicts:
            yield Told(f"{section}.use_flow_sigmas", "use_flow_sigmas: true needs prediction_type: flow_prediction")
        elif predicts and not sigmas:
            yield Told(f"{section}.prediction_type", "prediction_type: flow_prediction needs use_flow_sigmas: true")
        elif dynamic and not sigmas:
            yield Told(f"{section}.use_dynamic_shifting", "use_dynamic_shifting: true needs use_flow_sigmas: true")


@rule("unused-key")
def shift_counts(view: View) -> Iterator[Told]:
    for section in samplers(view):
        shift, dynamic = view.get(f"{section}.flow_shift"), view.get(f"{section}.use_dynamic_shifting")
        if shift is None:
            continue
        if not view.get(f"{section}.use_flow_sigmas"):
            message = "flow_shift has no effect without use_flow_sigmas: true"
        elif dynamic:
            message = "flow_shift has no effect with use_dynamic_shifting: true: remove one of them"
        else:
            continue
        yield Told(f"{section}.flow_shift", message, "warning")


@rule("sampler")
def solver_reads_the_flow(view: View) -> Iterator[Told]:
    """diffusers' solvers turn a flow into a picture, never into noise."""
    for section in samplers(view):
        for key, values, mend in _NOT_OF_FLOW:
            value = view.get(f"{section}.{key}")
            if view.get(f"{section}.prediction_type") == "flow_prediction" and value in values:
                yield Told(f"{section}.{key}", f"{key}: {_word(value)} cannot read flow_prediction: write {mend}")


@rule("sampler")
def flow_solver_starts_from_noise(view: View) -> Iterator[Told]:
    """diffusers' pipelines ask for scale_noise, which of these schedulers FlowMatchEulerDiscrete alone has."""
    for section in samplers(view):
        kind = view.get(f"{section}.type")
        if kind in FLOW_SOLVERS and view.get(f"{section}.use_flow_sigmas") and view.has("sampling.init_image"):
            yield Told(
                f"{section}.type",
                f"{kind} draws a flow from text alone: with init_image use FlowMatchEulerDiscrete",
            )


@rule("sampler")
def last_step_is_not_the_first(view: View) -> Iterator[Told]:
    """The steps are stretched between the first, which is all noise, and the last: one alone divides by zero."""
    for section in samplers(view):
        if view.get(f"{section}.shift_terminal") is None:
            continue
        for place, steps in step_counts(view):
            if steps < 2:
                yield Told(place, f"shift_terminal needs 2 steps or more (got {steps}): raise them")


RULES: list[Rule] = [
    flow_needs_a_flow_model,
    flow_model_needs_flow,
    flow_keys_go_together,
    shift_counts,
    solver_reads_the_flow,
    flow_solver_starts_from_noise,
    last_step_is_not_the_first,
]
