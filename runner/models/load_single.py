"""The parts of a model out of one checkpoint file, loaded by diffusers, counted by us."""

from __future__ import annotations

import math
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffusers
import torch
from diffusers.loaders import single_file_utils as known
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from torch import nn

from runner.errors import ModelError
from runner.models.classes import skeleton
from runner.models.family import Facts, Part
from runner.models.parts import fetch_parts, load_part
from runner.models.quiet import quiet
from runner.models.single_file import UNET, Checkpoint, shapes_of
from runner.models.weights import check_finite
from runner.shown import shown

if TYPE_CHECKING:
    from runner.progress import Progress

_UNUSED = ("model_ema.", "loss.")  # of training, in no pipeline


def load_single(facts: Facts, progress: Progress, *, dtype: torch.dtype) -> dict[str, Any]:
    """Every part of a model whose `facts.checkpoint` holds its weights, as diffusers' `from_single_file` loads them.

    Raises:
        ModelError: the checkpoint does not fit its configuration, lacks tensors, or holds NaN.
        EnvironmentFault: the hub, the disk.
    """
    assert facts.checkpoint is not None
    (name,), files = facts.checkpoint.names, facts.checkpoint.files
    title = files.title(name)
    path = files.fetch([name], progress) / name
    shapes = shapes_of(files, name, allow_pickle=True)  # whether it may be one was asked when it was opened
    own = {
        part: there
        for part, there in facts.parts.items()
        if isinstance(there.files, Checkpoint) and part in there.files.held
    }
    _check_numbers(own, facts, shapes, title)
    others = {part: there for part, there in facts.parts.items() if part not in own}
    roots = fetch_parts(facts.parts, progress)
    parts = {part: load_part(there, roots[part], dtype=dtype) for part, there in others.items()}
    root = next(roots[part] for part in own)
    pipeline = _from_single_file(facts, path, root, parts, own, dtype, title)
    for part in own:
        parts[part] = _whole(getattr(pipeline, part), title)
    return parts


def _from_single_file(
    facts: Facts, path: Path, root: Path, parts: dict[str, Any], own: Mapping[str, Part], dtype: torch.dtype, title: str
) -> Any:
    quiet()
    cls = getattr(diffusers, facts.pipeline)
    absent = {part: None for part in cls._get_signature_types() if part not in parts and part not in own}
    options = {"config": str(root), "dtype": dtype, "local_files_only": True}
    try:
        return cls.from_single_file(str(path), **options, **parts, **absent)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except KeyError as error:
        raise ModelError(f"{title} lacks the tensor {shown(error.args[0])}: get the file again") from error
    except Exception as error:  # nearly anything is raised on tensors that do not fit
        reason = shown(str(error).strip().split("\n")[0])
        raise ModelError(f"{title} does not fit {shown(root)} ({reason}): correct model.config") from error


def _whole(model: nn.Module, title: str) -> nn.Module:
    """A part that has all its weights."""
    tensors = model.state_dict()
    empty = [key for key, tensor in tensors.items() if tensor.is_meta]
    if empty:
        raise ModelError(
            f"{title} does not fit its configuration: it lacks {shown(empty[0])} of {type(model).__name__}: "
            "get the file again, or correct model.config"
        )
    check_finite(tensors.items(), title)
    return model


def _check_numbers(own: Mapping[str, Part], facts: Facts, shapes: Mapping[str, Any], title: str) -> None:
    """Compare how many numbers the denoiser and the VAE have with what the checkpoint holds for them.

    diffusers drops tensors that it does not know without a word; LDM's and its own layout hold the same numbers.
    """
    bare = not any(key.startswith(UNET) for key in shapes)  # Flux as published: nothing but a denoiser
    denoiser = ("",) if bare else (UNET,)
    for part, begins in (("unet", denoiser), ("transformer", denoiser), ("vae", tuple(known.LDM_VAE_KEYS))):
        if part not in own:
            continue
        wanted = sum(tensor.numel() for tensor in skeleton(own[part].cls, facts.configs[part]).state_dict().values())
        found = sum(math.prod(shapes[key].shape) for key in shapes if _is_of(key, begins))
        if found != wanted:
            lacking = _lacking(own[part].cls, facts.configs[part], shapes)
            lacks = f", and lacks {shown(lacking)}" if lacking else ""
            raise ModelError(
                f"{title} does not fit its configuration: its {part} holds {found:,} numbers where "
                f"{shown(own[part].files.origin)} describes {wanted:,}{lacks}: get the file again, "
                "or correct model.config"
            )


def _lacking(cls: str, config: Mapping[str, Any], shapes: Mapping[str, Any]) -> str | None:
    """A tensor that a part needs and the checkpoint lacks: found by diffusers' own conversion, without the numbers."""
    held = {key: torch.empty(tuple(there.shape), device="meta") for key, there in shapes.items()}
    convert = SINGLE_FILE_LOADABLE_CLASSES[cls]["checkpoint_mapping_fn"]
    arguments = {"checkpoint": held, "config": config}
    try:
        made = convert(**{name: arguments[name] for name in signature(convert).parameters if name in arguments})
    except KeyError as error:
        return str(error.args[0])
    except Exception:  # it is written for whole checkpoints
        return None
    return next((key for key in skeleton(cls, dict(config)).state_dict() if key not in made), None)


def _is_of(key: str, begins: tuple[str, ...]) -> bool:
    return any(key.startswith(begin) and not key.removeprefix(begin).startswith(_UNUSED) for begin in begins)
