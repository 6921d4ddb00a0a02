"""Reading a saved part: its configuration, and its weights from safetensors only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from runner.errors import ModelError
from runner.shown import shown

WEIGHTS = "diffusion_pytorch_model.safetensors"


def read_config(path: Path, classes: Sequence[str]) -> dict[str, Any]:
    """A part's configuration.

    Raises:
        ModelError: the file is missing, is not a JSON object, or is of none of these classes.
    """
    config = _json(path)
    if not isinstance(config, dict) or "_class_name" not in config:
        raise ModelError(f"{shown(path)} is not a configuration of diffusers: it names no _class_name")
    if config["_class_name"] not in classes:
        found = shown(config["_class_name"])
        raise ModelError(f"{shown(path)} is of class {found}: this version of recipe reads {', '.join(classes)}")
    return config


def read_labels(path: Path) -> list[str]:
    """The class names beside a class-conditional model; none where there is no such file.

    Raises:
        ModelError: it is not a JSON list of texts.
    """
    labels = _json(path) if path.is_file() else []
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ModelError(f"{shown(path)} is not a list of class names: get the model's folder again")
    return labels


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{shown(path)} is missing: model.id must be a folder in diffusers' layout") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{shown(path)} is no readable JSON ({shown(error)}): get the model's folder again") from None


def load_part(cls: Any, folder: Path, skeleton: nn.Module) -> Any:
    """The part of class `cls` with its weights.

    Args:
        cls: the diffusers model class.
        folder: holds config.json and diffusion_pytorch_model.safetensors.
        skeleton: the part without weights, whose tensors the file must have.

    Raises:
        ModelError: the file is missing, damaged, or lacks tensors, has surplus ones or other shapes.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="pt") as file:
            found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise ModelError(f"{shown(path)} is missing: weights are read from safetensors files only") from None
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{shown(path)} is damaged ({shown(error)}): get the file again") from None
    wanted = {key: tuple(tensor.shape) for key, tensor in skeleton.state_dict().items()}
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise ModelError(
                f"{shown(path)} does not fit its config.json: {shown(key)} should be "
                f"{_shape(wanted.get(key))} and is {_shape(found.get(key))}"
            )
    return cls.from_pretrained(folder, use_safetensors=True, local_files_only=True)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "×".join(map(str, shape)) or "a number"
