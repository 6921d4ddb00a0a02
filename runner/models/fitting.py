"""What of a recipe's `sampling` section a diffusers pipeline cannot do: found before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from runner.diffusion.samplers import sampler, saved_scheduler
from runner.models.family import Facts, Misfit
from runner.models.flow import flow_misfits
from runner.prompts.syntax import problem
from runner.shown import shown

if TYPE_CHECKING:
    from runner.models.described import Described

_NEUTRAL = {"guidance_rescale": 0.0, "eta": 0.0, "true_cfg_scale": 1.0}
LONGEST = 512
"""The most tokens for which T5 is asked; the pipelines refuse more."""

_TASKS = {"text2img": "drawing from text alone", "img2img": "drawing from init_image", "inpaint": "inpainting"}


def misfits(family: type[Described], facts: Facts, sampling: dict[str, Any]) -> Iterator[Misfit]:
    """What every family asks of a settled section with one value for each key."""
    if not sampling.get("prompts"):
        yield Misfit("prompts", "no-prompts", f"a {facts.family} model draws what a text says: give prompts")
    yield from _syntax(sampling)
    yield from _foreign_arguments(family, sampling)
    yield from _sampler(family, facts, sampling)
    yield from _sizes(family, sampling)
    yield from _clip_skip(family, facts, sampling)
    yield from _strength(sampling)
    if (sampling.get("max_sequence_length") or 0) > LONGEST:
        yield Misfit("max_sequence_length", "too-long", f"the text encoder reads at most {LONGEST} tokens")


def _syntax(sampling: dict[str, Any]) -> Iterator[Misfit]:
    if sampling.get("prompt_syntax") != "weighted":
        return
    texts = {f"prompts.{i}": text for i, text in enumerate(sampling.get("prompts") or [])}
    texts |= {key: sampling.get(key) for key in ("prompt_2", "negative_prompt", "negative_prompt_2")}
    for key, text in texts.items():
        message = problem(text) if text else None
        if message is not None:
            yield Misfit(key, "prompt-syntax", message)


def _foreign_arguments(family: type[Described], sampling: dict[str, Any]) -> Iterator[Misfit]:
    """Keys that this task's pipeline has no argument for, though another of the family's has."""
    task = family.task(sampling)
    takes = family.arguments(task)
    for key in sorted(family.KEYS & {"guidance_rescale", "clip_skip", "eta", "true_cfg_scale"}):
        if key not in takes and sampling.get(key) not in (None, _NEUTRAL.get(key)):
            yield Misfit(key, "not-of-this-task", f"{_TASKS[task]} with {family.family()} has no {key}: take it out")


def _sampler(family: type[Described], facts: Facts, sampling: dict[str, Any]) -> Iterator[Misfit]:
    """A sampler of another kind of noise, or options that diffusers refuses: tried out on a few numbers."""
    section = sampling.get("scheduler")
    if section is not None and section["type"] not in family.SCHEDULERS:
        known = ", ".join(sorted(family.SCHEDULERS))
        message = f"{section['type']} draws no {facts.family} model, whose noise is of another kind: write {known}"
        yield Misfit("scheduler.type", "scheduler-of-another-kind", message)
        return
    found = list(flow_misfits(family, facts, sampling))
    if found:
        yield from found
        return
    try:
        made = sampler(saved_scheduler(facts.configs["scheduler"]), section)
        set_timesteps(made, 8)
        noise = torch.zeros(1, 4, 8, 8)
        made.step(noise, made.timesteps[0], noise)
    except Exception as error:  # diffusers raises many kinds
        name = "the model's own scheduler" if section is None else section["type"]
        yield Misfit("scheduler.type", "scheduler-options", f"{name} cannot draw so: {shown(error)}")
        return
    try:
        set_timesteps(made, sampling["num_inference_steps"])
    except Exception as error:  # as above
        yield Misfit("num_inference_steps", "steps", _too_many(made, sampling["num_inference_steps"], error))


def _too_many(scheduler: Any, steps: int, error: Exception) -> str:
    trained = scheduler.config.get("num_train_timesteps")
    if trained and steps > trained:
        return f"the model was trained on {trained:,} steps and cannot draw in {steps:,}: write at most {trained:,}"
    reason = str(error).replace("`", "").replace("self.config.", "")  # as diffusers marks its code
    return f"the sampler cannot take this number of steps ({shown(reason)}): write another"


def set_timesteps(scheduler: Any, steps: int) -> None:
    """Sets a scheduler's timesteps; how far it shifts them does not matter."""
    scheduler.set_timesteps(steps, **({"mu": 1.0} if scheduler.config.get("use_dynamic_shifting") else {}))


def _sizes(family: type[Described], sampling: dict[str, Any]) -> Iterator[Misfit]:
    for key in ("height", "width"):
        side, unit = sampling.get(key), family.SIDE
        if side and side % unit:
            near = max(unit, round(side / unit) * unit)
            yield Misfit(key, "picture-size", f"the sides must be multiples of {unit}: write {near}")
    if bool(sampling.get("height")) != bool(sampling.get("width")):
        yield Misfit("width", "picture-size", "give both height and width, or neither")
    path = sampling.get("init_image")
    if path is not None:
        with Image.open(path) as image:
            small = min(image.size) < family.SIDE
            size = "×".join(map(str, image.size))
        if small:
            message = f"the picture has {size} pixels: it needs at least {family.SIDE} a side"
            yield Misfit("init_image", "picture-size", message)


def _clip_skip(family: type[Described], facts: Facts, sampling: dict[str, Any]) -> Iterator[Misfit]:
    """The pipelines count from the last layer; SDXL and SD 3 leave one out of their own."""
    skipped = sampling.get("clip_skip")
    encoders = [config for name, config in facts.configs.items() if name in ("text_encoder", "text_encoder_2")]
    deepest = min(config.get("num_hidden_layers", 12) for config in encoders) - family.OWN_SKIP
    if skipped is not None and skipped > deepest:
        yield Misfit("clip_skip", "clip-skip", f"the text encoder has no layer so deep: write at most {deepest}")


def _strength(sampling: dict[str, Any]) -> Iterator[Misfit]:
    strength, steps = sampling.get("strength"), sampling["num_inference_steps"]
    if sampling.get("init_image") is not None and strength is not None and int(steps * strength) < 1:
        message = f"strength {strength} of {steps} steps leaves none to draw: raise strength or num_inference_steps"
        yield Misfit("strength", "no-steps", message)
