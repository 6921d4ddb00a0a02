"""Checkpoints: written whole or not at all, verified when read.

A checkpoint is a folder `step-000500` of safetensors and JSON files and a `manifest.json` with the sha256 of each,
written last. It is made under a temporary name, synced to the disk and renamed; only then are older ones removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from runner.errors import CheckpointError, EnvironmentFault
from runner.shown import shown
from runner.training.state import Tensors

MANIFEST = "manifest.json"
STATE = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on after optimizer step `step`: tensors by file name, and JSON values."""

    step: int
    tensors: dict[str, Tensors]
    values: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint, limit: int | None) -> Path:
    """Writes a checkpoint into `folder` and then removes all but the newest `limit`.

    Raises:
        EnvironmentFault: the disk is full or cannot be written; what was there before is untouched.
    """
    final = folder / f"step-{checkpoint.step:06d}"
    draft = folder / f".tmp-{final.name}"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for name, tensors in checkpoint.tensors.items():
            contiguous = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
            save_file(contiguous, draft / f"{name}.safetensors")
        (draft / STATE).write_text(json.dumps({"step": checkpoint.step, **checkpoint.values}), "utf-8")
        manifest = {path.name: _sha256(path) for path in sorted(draft.iterdir())}
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=2), "utf-8")
        for path in (*draft.iterdir(), draft):
            _sync(path)
        if final.exists():  # a damaged one of the same step
            shutil.rmtree(final)
        draft.rename(final)
        _sync(folder)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk by its own class
        shutil.rmtree(draft, ignore_errors=True)
        raise EnvironmentFault(
            f"the checkpoint of step {checkpoint.step} could not be written to {shown(folder)} ({shown(error)}): "
            "make room or mend the folder, then run the same command again to go on"
        ) from None
    if limit is not None:
        _prune(folder, limit)
    return final


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, and a sentence for each newer one that is damaged."""
    damaged: list[str] = []
    for path in sorted(folder.glob("step-*"), key=_step, reverse=True):
        try:
            return load(path), damaged
        except CheckpointError as error:
            damaged.append(str(error))
    return None, damaged


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint after its every file was compared with the manifest.

    Raises:
        CheckpointError: a file is missing, surplus or differs.
    """
    where = shown(path)
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        present = {file.name for file in path.iterdir()} - {MANIFEST}
    except (OSError, ValueError):
        raise CheckpointError(f"the checkpoint {where} is damaged: its {MANIFEST} cannot be read") from None
    if not isinstance(manifest, dict) or present != manifest.keys():
        raise CheckpointError(f"the checkpoint {where} is damaged: its files are not those of its {MANIFEST}")
    for name, digest in manifest.items():
        if _sha256(path / name) != digest:
            raise CheckpointError(f"the checkpoint {where} is damaged: the sha256 of {shown(name)} differs")
    values = json.loads((path / STATE).read_text("utf-8"))
    tensors = {file.stem: load_file(file) for file in path.glob("*.safetensors")}
    return Checkpoint(values.pop("step"), tensors, values)


def _prune(folder: Path, limit: int) -> None:
    for path in sorted(folder.glob("step-*"), key=_step)[:-limit]:
        shutil.rmtree(path, ignore_errors=True)


def _step(path: Path) -> int:
    number = path.name.removeprefix("step-")
    return int(number) if number.isdigit() else -1


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
