"""Checkpoints: written whole or not at all, verified when written and when read.

A checkpoint is a folder `step-000500` of safetensors and JSON files and a `manifest.json` with the sha256 of each,
written last. It is made under a temporary name, synced to the disk, renamed and read back; only then are older ones
removed. Their order is that of steps; clocks play no part.
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
from runner.outputs.files import sync_folder
from runner.shown import shown
from runner.training.state import Tensors

MANIFEST = "manifest.json"
STATE = "state.json"
FORMAT = 1  # of what state.json and the tensors' files hold


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on after optimizer step `step`: tensors by file name, and JSON values."""

    step: int
    tensors: dict[str, Tensors]
    values: dict[str, Any]


class _Damaged(CheckpointError):
    """A checkpoint that is not what was written: an older one may do."""


def save(folder: Path, checkpoint: Checkpoint, limit: int | None) -> Path:
    """Writes a checkpoint into `folder`, whose parent is there, and then removes all but the newest `limit`.

    Raises:
        EnvironmentFault: the disk is full, cannot be written, or does not give back what was written; older
            checkpoints are untouched.
    """
    final = path_of(folder, checkpoint.step)
    draft = folder / f".tmp-{final.name}"
    try:
        folder.mkdir(exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        _fill(draft, checkpoint)
        if final.exists():  # a damaged one of the same step
            shutil.rmtree(final)
        draft.rename(final)
        sync_folder(folder)
        _verify(final)
    except (OSError, SafetensorError, _Damaged) as error:  # safetensors reports a full disk by its own class
        shutil.rmtree(draft, ignore_errors=True)
        raise EnvironmentFault(
            f"the checkpoint of step {checkpoint.step} could not be written to {shown(folder)} ({shown(error)}): "
            "make room or mend the folder, then run the same command again to go on"
        ) from None
    prune(folder, checkpoint.step, limit)
    return final


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step:06d}"


def prune(folder: Path, step: int, limit: int | None) -> None:
    """Removes all checkpoints but the newest `limit` up to that of `step`, which is whole: later ones are damaged."""
    paths = _by_step(folder)
    late = [path for path in paths if _step(path) > step]
    early = [path for path in paths if _step(path) <= step]
    for path in late + (early[:-limit] if limit is not None else []):
        shutil.rmtree(path, ignore_errors=True)


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, and a sentence for each newer one that is damaged.

    Raises:
        CheckpointError: one that is whole is of another version of recipe.
    """
    damaged: list[str] = []
    for path in reversed(_by_step(folder)):
        try:
            return load(path), damaged
        except _Damaged as error:
            damaged.append(str(error))
    return None, damaged


def reached(folder: Path) -> int:
    """The step of the newest checkpoint that has a manifest, whole or not; 0 where there is none."""
    return max((_step(path) for path in _by_step(folder) if (path / MANIFEST).is_file()), default=0)


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint after its every file was compared with the manifest.

    Raises:
        CheckpointError: a file is missing, surplus or differs; or the checkpoint is of another version of recipe.
    """
    try:
        _verify(path)
        values = json.loads((path / STATE).read_text("utf-8"))
        format = values.pop("format", None)
        if format == FORMAT:
            tensors = {file.stem: load_file(file) for file in path.glob("*.safetensors")}
            if (step := values.pop("step")) != _step(path):
                raise ValueError(f"it is of step {step}")
            return Checkpoint(step, tensors, values)
    except (OSError, ValueError, AttributeError, KeyError, SafetensorError) as error:
        raise _Damaged(f"the checkpoint {shown(path)} is damaged: it cannot be read ({shown(error)})") from None
    if isinstance(format, int) and format > FORMAT:
        raise CheckpointError(
            f"the checkpoint {shown(path)} was written by a newer recipe: update recipe, or start anew with --fresh"
        )
    raise CheckpointError(
        f"the checkpoint {shown(path)} was written by an older recipe, whose form is not read: start anew with --fresh"
    )


def _fill(draft: Path, checkpoint: Checkpoint) -> None:
    """Writes the files, the manifest last, and sees them on the disk."""
    for name, tensors in checkpoint.tensors.items():
        contiguous = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        save_file(contiguous, draft / f"{name}.safetensors")
    state = {"format": FORMAT, "step": checkpoint.step, **checkpoint.values}
    (draft / STATE).write_text(json.dumps(state), "utf-8")
    manifest = {path.name: _sha256(path) for path in sorted(draft.iterdir())}
    (draft / MANIFEST).write_text(json.dumps(manifest, indent=2), "utf-8")
    for path in draft.iterdir():
        _sync(path)
    sync_folder(draft)


def _verify(path: Path) -> None:
    """Compares every file with the manifest.

    Raises:
        CheckpointError: they are not those that were written.
    """
    where = shown(path)
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        present = {file.name for file in path.iterdir()} - {MANIFEST}
    except (OSError, ValueError):
        raise _Damaged(f"the checkpoint {where} is damaged: its {MANIFEST} cannot be read") from None
    if not isinstance(manifest, dict) or present != manifest.keys():
        raise _Damaged(f"the checkpoint {where} is damaged: its files are not those of its {MANIFEST}")
    for name, digest in manifest.items():
        if _sha256(path / name) != digest:
            raise _Damaged(f"the checkpoint {where} is damaged: the sha256 of {shown(name)} differs")


def _by_step(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), key=_step)


def _step(path: Path) -> int:
    number = path.name.removeprefix("step-")
    return int(number) if number.isdigit() else -1


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Sees a file on the disk, and lets go of the copy in memory, so that reading it back asks the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)
