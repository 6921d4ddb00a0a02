"""What earlier sessions left in a run's folder that goes on."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from runner.outputs.files import faults

_DRAFT = ".tmp-"
_STEP = "step-"


def sweep(folder: Path) -> None:
    """Removes the drafts of a process that was killed; whoever calls holds the folder's lock."""
    for root, folders, files in os.walk(folder):
        for name in [name for name in folders if name.startswith(_DRAFT)]:
            shutil.rmtree(Path(root, name), ignore_errors=True)
            folders.remove(name)
        for name in files:
            if name.startswith(_DRAFT):
                with suppress(OSError):
                    Path(root, name).unlink()


def set_aside(folder: Path, name: str) -> list[str]:
    """Moves what a run made at its end into `folder/name`, whole: the model, what draws with it, the pictures.

    The grids of steps stay. Cut short, it is ended by the next call.

    Returns:
        what was moved, by its path in the folder.

    Raises:
        EnvironmentFault: the disk refuses.
    """
    found = [folder / "model", folder / "sample.yaml"]
    found += [path for path in sorted((folder / "samples").glob("*")) if not path.name.startswith(_STEP)]
    moved = [path.relative_to(folder) for path in found if path.exists()]
    for inside in moved:
        target = folder / name / inside
        with faults(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            (folder / inside).rename(target)
    return list(map(str, moved))
