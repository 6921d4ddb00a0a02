"""What a saved pixel model has beside its UNet: the noise schedule and the names of its classes."""

from __future__ import annotations

from typing import Any

from runner.diffusion.samplers import SCHEDULERS
from runner.errors import ModelError
from runner.models.files import Files
from runner.shown import shown

LABELS = "labels.json"


def saved_schedule(files: Files) -> dict[str, Any]:
    """The configuration of the saved noise schedule.

    Raises:
        ModelError: it is missing, no JSON, or of a class that is not known.
    """
    name = "scheduler/scheduler_config.json"
    config = files.json(name)
    found = config.get("_class_name") if isinstance(config, dict) else None
    if found not in SCHEDULERS:
        known = ", ".join(SCHEDULERS)
        raise ModelError(f"{files.title(name)} is of class {shown(found)}: choose a model with one of {known}")
    return config


def saved_labels(files: Files) -> list[str]:
    """The class names beside a class-conditional model; none where there is no such file.

    Raises:
        ModelError: it is no list of names.
    """
    labels = files.json(LABELS) if LABELS in files.sizes else []
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ModelError(f"{files.title(LABELS)} is not a list of class names: get the model's folder again")
    return labels
