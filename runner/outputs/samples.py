"""The pictures of a run: single files, grids, strips and the GIF, each carrying the recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from runner.language.write import to_yaml
from runner.outputs import pictures
from runner.outputs.files import faults
from runner.outputs.folder import RunFolder
from runner.outputs.sheet import sheet

GRID_LIMIT = 100  # pictures in one grid; more are too small to see
_STEP = re.compile(r"step-(\d+)\.png")


class Samples:
    """Writes into a run's samples/ folder; every PNG's text holds the recipe that made it.

    Args:
        folder: the run's folder.
        portable: the settled recipe with paths as they were given.
    """

    def __init__(self, folder: RunFolder, portable: dict[str, Any]) -> None:
        self.folder = folder
        self.output = portable["output"]
        self.recipe = to_yaml(portable, header=True)

    @property
    def path(self) -> Path:
        return self.folder.path / "samples"

    def single(self, image: Image.Image, number: int, chunks: Mapping[str, str]) -> None:
        """One picture in its own file, exact to the pixel; `chunks` are texts to carry beside the recipe."""
        self._save(f"{number:05d}.png", image, chunks)

    def has_single(self, number: int) -> bool:
        """Whether a picture is written; files appear whole or not at all."""
        return (self.path / f"{number:05d}.png").is_file()

    def finished(self, number: int) -> Image.Image | None:
        """A picture that an interrupted run wrote; None if it did not."""
        if not self.has_single(number):
            return None
        path = self.path / f"{number:05d}.png"
        with faults(path, "read"), Image.open(path) as image:
            return image.convert("RGB")

    def sheet(self, images: Sequence[Image.Image], rows: Sequence[str], columns: Sequence[str]) -> Path:
        """matrix.png: the pictures row by row, labelled."""
        return self._save("matrix.png", sheet(list(images), list(rows), list(columns)), {})

    def grid(self, images: Sequence[Image.Image], name: str) -> Path:
        """Pictures side by side (the first GRID_LIMIT), enlarged where they are small."""
        return self._save(name, pictures.grid(list(images[:GRID_LIMIT]), self.output["grid_columns"]), {})

    def step_grid(self, images: Sequence[Image.Image], step: int) -> Path:
        """The grid that was drawn after optimizer step `step`."""
        return self.grid(images, f"step-{step:06d}.png")

    def has_step_grid(self, step: int) -> bool:
        return (self.path / f"step-{step:06d}.png").is_file()

    def noise_preview(self, images: Sequence[Image.Image], timesteps: Sequence[int]) -> Path:
        """A strip of one picture at growing noise."""
        return self._save("noise_preview.png", pictures.strip(list(images), [f"t = {t}" for t in timesteps]), {})

    def trajectory(self, moments: Sequence[Sequence[Image.Image]]) -> Path:
        """A row for each picture: the moments of its denoising, noise first."""
        frames = [image for row in moments[:GRID_LIMIT] for image in row]
        return self._save("trajectory.png", pictures.grid(frames, len(moments[0])), {})

    def gif(self) -> Path | None:
        """progress.gif of the step grids so far, in the order of steps; None if there are none."""
        found = ((_STEP.fullmatch(path.name), path) for path in self.path.glob("step-*.png"))
        grids = sorted((int(match[1]), path) for match, path in found if match)
        if not grids:
            return None
        path = self.path / "progress.gif"
        pictures.gif([grid for _, grid in grids], path, self.output["gif_duration_ms"])
        return path

    def _save(self, name: str, image: Image.Image, chunks: Mapping[str, str]) -> Path:
        return self.folder.save_image(f"samples/{name}", image, {"recipe": self.recipe, **chunks})
