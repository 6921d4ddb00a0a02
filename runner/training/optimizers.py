"""Optimizers and learning-rate schedules of the libraries that have them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from diffusers.optimization import get_scheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from runner.errors import EnvironmentFault
from runner.methods.groups import Group

_CLASSES = {
    "adamw": ("torch.optim", "AdamW"),
    "adam": ("torch.optim", "Adam"),
    "sgd": ("torch.optim", "SGD"),
    "adafactor": ("transformers.optimization", "Adafactor"),
    "adamw_8bit": ("bitsandbytes.optim", "AdamW8bit"),
    "prodigy": ("prodigyopt", "Prodigy"),
}
_EXTRAS = {"adamw_8bit": "bitsandbytes", "prodigy": "prodigy"}
# Adafactor would else scale the learning rate by weights and step, and the recipe's figure would mean nothing.
_FIXED_STEP = {"scale_parameter": False, "relative_step": False, "warmup_init": False}


def optimizer(section: dict[str, Any], groups: Sequence[Group]) -> Optimizer:
    """The optimizer of a resolved `training.optimizer` section, whose package is there (`require`)."""
    given: list[dict[str, Any]] = [
        {"params": list(group.parameters.values()), "lr": group.learning_rate} for group in groups
    ]
    kind = section["type"]
    options = {key: value for key, value in section.items() if key != "type"}
    if "betas" in options:
        options["betas"] = tuple(options["betas"])
    if kind == "adafactor":
        options |= _FIXED_STEP
    if kind in ("adamw", "adam"):
        options["fused"] = given[0]["params"][0].device.type in ("cpu", "cuda")
    module, name = _CLASSES[kind]
    return getattr(import_module(module), name)(given, lr=groups[0].learning_rate, **options)


def require(kind: str) -> None:
    """Raises EnvironmentFault if the package of an optimizer that needs an extra is not installed."""
    package = _CLASSES[kind][0].split(".")[0]
    if find_spec(package) is None:
        raise EnvironmentFault(
            f"training.optimizer.type {kind} needs a package that is not here: pip install 'recipe[{_EXTRAS[kind]}]'"
        )


def lr_scheduler(training: dict[str, Any], optimizer: Optimizer, steps: int) -> LambdaLR:
    """The learning-rate schedule of a resolved `training` section over `steps` optimizer steps."""
    return get_scheduler(
        training["lr_scheduler"],
        optimizer,
        num_warmup_steps=training["lr_warmup_steps"],
        num_training_steps=steps,
        num_cycles=training["lr_num_cycles"],
        power=training["lr_power"],
    )
