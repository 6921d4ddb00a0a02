"""What makes training, and drawing where it is asked for, fast on this machine: in place of `auto`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runner import processor
from runner.language.problems import Problem
from runner.language.recipe import Recipe
from runner.models.family import Facts
from runner.models.fast import KEYS, lacking

_OF_UNETS = ("eager_attention", "upcast_attention")
_STEPS = {"cuda": 2_000, "cpu": 10_000}
"""From how many optimizer steps on compiling pays: it takes minutes, the first time, and saves a part of each step.

Measured on two cores with a UNet2DModel of 6 million parameters in bf16: 6 % of a step of 32 pixels, 12 % of 64, after
a minute and a half of compiling. That is with channels_last, which without compiling is 0.9 times as fast there (its
convolutions are faster, its norms slower); in fp32 it saves 1.5 %.
"""


def settle(values: dict[str, Any], pictures: int | None) -> dict[str, bool]:
    """The keys in place of `auto`; all off where nothing is trained, so that no byte of a drawn picture changes.

    Args:
        values: device and number format are settled.
        pictures: how many an epoch shows; None while that is not known.
    """
    compute = values["compute"]
    if "training" not in values:
        return {key: compute[key] is True for key in KEYS}
    device, narrow = compute["device"], compute["mixed_precision"] != "fp32"
    from_scratch = values["model"]["type"] != "pretrained"
    compiles = _pays(values, pictures) if compute["compile"] == "auto" else compute["compile"]
    slow_kernel = narrow and device == "cpu" and processor.has_bf16()
    own = {
        "channels_last": narrow and compiles and not _in_parts(compute),
        "compile": compiles,
        "eager_attention": slow_kernel and from_scratch,
        # Of code with an autocast of its own torch does not keep the trace, which is most of a warm start.
        "upcast_attention": slow_kernel and not (from_scratch or compiles or compute["eager_attention"] is True),
        "allow_tf32": device == "cuda",
    }
    return {key: own[key] if compute[key] == "auto" else compute[key] for key in KEYS}


def _pays(values: dict[str, Any], pictures: int | None) -> bool:
    """Whether so many steps follow that compiling takes less time than it saves, where this machine can.

    Pictures of many sizes would each be compiled for; weights that are shared out are not compiled.
    """
    device, training = values["compute"]["device"], values["training"]
    if device not in _STEPS or "aspect_ratio_buckets" in values["data"] or _in_parts(values["compute"]):
        return False
    if training["gradient_checkpointing"] or (device == "cpu" and not _measured(values)):
        return False
    steps = training["max_train_steps"]
    if training["num_train_epochs"]:
        per_step = training["batch_size"] * training["gradient_accumulation_steps"]
        steps = training["num_train_epochs"] * (pictures or 0) // per_step
    return steps >= _STEPS[device] and lacking(device) is None


def _measured(values: dict[str, Any]) -> bool:
    """Whether compiling is known to pay on a CPU: of a pixel UNet, for one process, in bf16, by instructions for it."""
    compute = values["compute"]
    known = values["model"]["type"] == "pixel_unet" and compute["processes"] == 1
    return bool(known and compute["mixed_precision"] != "fp32" and processor.has_bf16())


def _in_parts(compute: dict[str, Any]) -> bool:
    """Whether processes share out the weights."""
    return bool(compute["strategy"] == "fsdp" and compute["processes"] > 1)


def settle_model(values: dict[str, Any], model: Facts) -> dict[str, bool]:
    """The keys of attention, which are of UNets and VAEs whose attention nothing else cuts."""
    compute = values["compute"]
    cut = compute["attention_slicing"] and values["model"]["type"] == "pretrained"
    return {key: compute[key] and not cut and _lacking(key, model) is None for key in _OF_UNETS}


def misfits(recipe: Recipe, values: dict[str, Any], model: Facts) -> Iterator[Problem]:
    """What is asked for and the model has not."""
    for key in _OF_UNETS:
        if values["compute"][key] is True and (lack := _lacking(key, model)) is not None:
            yield recipe.problem(("compute", key), key.replace("_", "-"), f"{key} is of {lack}: write auto or false")


def _lacking(key: str, model: Facts) -> str | None:
    """Which models a key of attention is of, and why this is none of them; None where it is one."""
    if "transformer" in model.configs:
        return f"UNets, and {model.family} draws with a transformer"
    if key == "upcast_attention" and "cross_attention_dim" not in model.configs.get("unet", {}):
        return f"models that read prompts, and {model.family} reads none"
    return None


def problems(recipe: Recipe, values: dict[str, Any]) -> Iterator[Problem]:
    """Why what is asked for cannot be compiled on this machine."""
    compute = values["compute"]
    if compute["compile"] is True and (lack := lacking(compute["device"])) is not None:
        message = f"compiling needs {lack}, which this machine lacks: write false, or add it"
        yield recipe.problem(("compute", "compile"), "compile", message)
