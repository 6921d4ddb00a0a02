"""The room that a run's folder takes on the disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from runner.models.family import Facts
from runner.plan.drawing import Drawing
from runner.plan.training import Training
from runner.shown import shown
from runner.tally import gibibytes

_PNG = 0.5  # of a picture's bytes: photos take more, drawings less


def disk(
    values: dict[str, Any], model: Facts | None, training: Training | None, drawing: Drawing | None
) -> dict[str, int]:
    """Bytes by what takes them, at the most of them: checkpoints (kept and being written), model/, samples/.

    Args:
        values: the settled recipe.
        model: None for a run that only writes captions.
    """
    if model is None:
        return {}
    picture = _picture(values, model)
    taken = {"checkpoints": 0, "model": 0, "samples": 0}
    if training is not None:
        section, steps = values["training"], training.steps
        taken["checkpoints"] = training.checkpoint * _checkpoints(section, steps)
        taken["model"] = training.saved
        if section["sample_steps"] is not None and steps is not None:
            taken["samples"] += int(_PNG * picture * section["sample_images"]) * (steps // section["sample_steps"])
    if drawing is not None:
        files = 2 if values["output"]["individual_images"] else 1  # and in the grid
        taken["samples"] += int(_PNG * picture * drawing.images) * files
    return taken


def shortfall(taken: dict[str, int], output_dir: Path, folder: Path | None) -> str | None:
    """One sentence where the disk is too small for a run; None where it is not.

    Args:
        taken: as `disk` says.
        output_dir: where runs are kept.
        folder: of the run that goes on, whose files are there already; None for a new one.
    """
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder is not None else 0
    needed, free = sum(taken.values()) - there, free_on(output_dir)
    if needed <= free:
        return None
    fewer = "keep fewer by training.checkpoints_total_limit=1, " if taken["checkpoints"] else ""
    return (
        f"the run needs {gibibytes(needed)} in {shown(output_dir, 1000)}, and {gibibytes(free)} are free: "
        f"free some space, {fewer}or choose another disk with --output-dir"
    )


def free_on(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not be there yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def _checkpoints(section: dict[str, Any], steps: int | None) -> int:
    """How many there are at most at one time; with steps that are not known yet, as few as there may be."""
    every, limit = section["checkpointing_steps"], section["checkpoints_total_limit"]
    written = 1 if every is None or steps is None else -(-steps // every)
    return written if limit is None else min(written, limit + 1)


def _picture(values: dict[str, Any], model: Facts) -> int:
    """Bytes of a picture's pixels; 0 where it is as large as one that is read later."""
    sampling = values.get("sampling", {})
    height, width = sampling.get("height", 0), sampling.get("width", 0)
    if not height and "data" in values:
        height = width = values["data"]["resolution"]
    elif "height" not in sampling:
        height = width = model.configs["unet"]["sample_size"]
    return 3 * (height or 0) * (width or 0)
