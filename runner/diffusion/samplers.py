"""Samplers: diffusers' schedulers, made from a model's own with a recipe's options."""

from __future__ import annotations

from typing import Any

import diffusers
from diffusers.configuration_utils import FrozenDict

from runner.language import schemas

# The classes that may be built, by a recipe or by a model's folder: those that the schema names.
SCHEDULERS = [f"{kind}Scheduler" for kind in schemas.read("scheduler/sampler.json")["properties"]["type"]["enum"]]

_LEFT_OPEN = "_use_default_values"  # where diffusers notes the options that a scheduler's file does not have


def noise_scheduler(section: dict[str, Any]) -> Any:
    """The scheduler of a resolved `scheduler` section whose every option is given."""
    options = {key: value for key, value in section.items() if key != "type"}
    return _class(section["type"])(**options)


def saved_scheduler(config: dict[str, Any]) -> Any:
    """The scheduler of a saved configuration whose `_class_name` is one of SCHEDULERS."""
    return _class(config["_class_name"].removesuffix("Scheduler")).from_config(config)


def sampler(own: Any, section: dict[str, Any] | None) -> Any:
    """The scheduler to draw with.

    Args:
        own: the model's own scheduler.
        section: `type` and the options that differ from `own`'s; None draws with `own`'s class and options.

    Returns:
        A fresh scheduler. Noise schedules that the class cannot compute itself (sigmoid) are handed over as betas.
    """
    if section is None:
        # By the note of what its file left open, diffusers would take back what a pipeline has mended.
        fresh = type(own).from_config({key: value for key, value in own.config.items() if key != _LEFT_OPEN})
        fresh._internal_dict = own.config  # another class made from it goes by the note
        return fresh
    options = {key: value for key, value in section.items() if key != "type"}
    if own.config.get("beta_schedule") == "sigmoid" and section["type"] != "DDPM":
        # The betas as the DDPM class computes them; a zero-SNR rescaling stays an option of the sampler.
        plain = type(own).from_config(own.config, rescale_betas_zero_snr=False)
        options = {"trained_betas": plain.betas.tolist(), "beta_schedule": "linear", **options}
    return _class(section["type"]).from_config(own.config, **options)


def as_saved(own: Any) -> Any:
    """A model's own scheduler, to be saved: its file leaves open what it has left open, for samplers made from it."""
    fresh, defaults = sampler(own, None), type(own)().config
    left_open = own.config.get(_LEFT_OPEN, ())
    told = {key: value for key, value in own.config.items() if key not in left_open or value != defaults[key]}
    fresh._internal_dict = FrozenDict(told)
    return fresh


def _class(name: str) -> Any:
    return getattr(diffusers, f"{name}Scheduler")
