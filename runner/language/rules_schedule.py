"""Rules of the noise schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator

from runner.language.drawn import SCHEDULED_HERE, option, samplers, step_counts
from runner.language.view import Rule, Told, View, rule

_SIGNAL_LEFT = 0.1  # Stable Diffusion's schedule leaves 0.068 of the picture's amplitude


@rule("betas")
def betas_grow(view: View) -> Iterator[Told]:
    start, end = view.get("scheduler.beta_start"), view.get("scheduler.beta_end")
    if (
        view.get("scheduler.beta_schedule") != "squaredcos_cap_v2"
        and start is not None
        and end is not None
        and start >= end
    ):
        path = "scheduler.beta_end" if view.written("scheduler.beta_end") else "scheduler.beta_start"
        yield Told(path, f"beta_start ({start}) must be below beta_end ({end}): the noise grows")


@rule("terminal-noise")
def last_step_is_noise(view: View) -> Iterator[Told]:
    """Drawing starts from pure noise, so the last timestep should hold next to nothing of the picture."""
    if view.get("model.type") not in SCHEDULED_HERE or view.get("scheduler.rescale_betas_zero_snr"):
        return
    left = math.sqrt(_alphas_cumprod_end(view))
    if left > _SIGNAL_LEFT:
        path = next((p for p in _SHAPES if view.written(p)), "scheduler")
        yield Told(
            path,
            f"the last timestep still holds {left:.0%} of the picture, but drawing starts from pure noise: "
            "raise beta_end or num_train_timesteps, or use beta_schedule: squaredcos_cap_v2",
            "warning",
        )


_SHAPES = ["scheduler.num_train_timesteps", "scheduler.beta_end", "scheduler.beta_start", "scheduler.beta_schedule"]


def _alphas_cumprod_end(view: View) -> float:
    """The product of 1 - beta over all steps, for the schedules that diffusers' DDPMScheduler computes."""
    steps, schedule = view.get("scheduler.num_train_timesteps"), view.get("scheduler.beta_schedule")
    start, end = view.get("scheduler.beta_start"), view.get("scheduler.beta_end")
    if schedule == "squaredcos_cap_v2":
        return 0.0
    parts = [i / (steps - 1) if steps > 1 else 0.0 for i in range(steps)]
    if schedule == "scaled_linear":
        betas = [(math.sqrt(start) + (math.sqrt(end) - math.sqrt(start)) * p) ** 2 for p in parts]
    elif schedule == "sigmoid":
        betas = [start + (end - start) / (1 + math.exp(6 - 12 * p)) for p in parts]
    else:
        betas = [start + (end - start) * p for p in parts]
    return math.exp(sum(math.log1p(-min(beta, 0.9999)) for beta in betas))


@rule("zero-snr")
def zero_snr_needs_velocity(view: View) -> Iterator[Told]:
    """At zero SNR the noise says nothing of the picture (Lin et al. 2023, section 3.2)."""
    for section in dict.fromkeys(["scheduler", *samplers(view)]):
        predicts = view.get(f"{section}.prediction_type")
        if view.get(f"{section}.rescale_betas_zero_snr") and predicts == "epsilon":
            yield Told(
                f"{section}.rescale_betas_zero_snr",
                "with zero terminal SNR the last step is pure noise, and to predict it (epsilon) says nothing of the "
                "picture: use prediction_type: v_prediction",
            )


@rule("zero-snr")
def zero_snr_draws_from_the_last_step(view: View) -> Iterator[Told]:
    """'leading' spacing never draws at the last timestep (Lin et al. 2023, section 3.3)."""
    if not view.has("sampling"):
        return
    for section in samplers(view):
        known = option(view, section, "num_train_timesteps")
        few = all(known is None or steps < known for _, steps in step_counts(view))
        spacing = option(view, section, "timestep_spacing")
        if option(view, section, "rescale_betas_zero_snr") and spacing == "leading" and few:
            own = view.get(f"{section}.timestep_spacing") is not None and section != "scheduler"
            yield Told(
                f"{section}.timestep_spacing" if own else "scheduler.rescale_betas_zero_snr",
                "zero terminal SNR has no effect on pictures drawn with timestep_spacing: leading: use trailing",
                "warning",
            )


RULES: list[Rule] = [
    betas_grow,
    last_step_is_noise,
    zero_snr_needs_velocity,
    zero_snr_draws_from_the_last_step,
]
