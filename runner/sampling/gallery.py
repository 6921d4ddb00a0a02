"""The one sampling stage: draws what the recipe asks for into the run's samples/."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runner.diffusion.denoise import Tick
from runner.errors import EnvironmentFault
from runner.memory import drawing_mends, guarded
from runner.models.family import Family, Request
from runner.models.fast import Compiled
from runner.outputs.behind import behind
from runner.outputs.parameters import parameters
from runner.outputs.samples import GRID_LIMIT, Samples
from runner.progress import Progress
from runner.prompts.kept import Kept
from runner.sampling.axes import axes
from runner.sampling.requests import Inputs, Picture, generators, pictures, request
from runner.sampling.shots import Shot, seeds, shots
from runner.signals import Stop


@dataclass(frozen=True)
class Held:
    """What a base model hands on: latents (B, C, h, w) in the machine's memory, and the state of their noise."""

    shot: Shot
    latents: Tensor
    generators: list[torch.Generator]


class Gallery:
    """Draws a settled recipe's pictures and keeps them.

    Args:
        values: the settled recipe.
        samples: the run's samples/.
        progress: the display.
        stop: the signals.
    """

    def __init__(self, values: dict[str, Any], samples: Samples, progress: Progress, stop: Stop) -> None:
        self.values, self.sampling = values, values["sampling"]
        self.samples, self.progress, self.stop = samples, progress, stop
        self.inputs, self.kept = Inputs.of(self.sampling), Kept()
        self.shots = shots(self.sampling)
        self._code: Compiled | None = None

    @contextmanager
    def compiled(self, family: Family, folder: Path) -> Iterator[None]:
        """What is drawn inside is drawn by compiled code, kept in `folder`; a smaller last batch is not worth its own.

        Raises:
            EnvironmentFault: the model cannot be compiled here.
        """
        self._code = Compiled(family, True, folder)
        try:
            with self._code.ready():
                yield
        except EnvironmentFault:
            self.stop.check()  # a signal ended the compiler
            raise
        finally:
            self._code = None

    def draw(self, family: Family) -> None:
        """Draws everything with one model.

        Raises:
            EnvironmentFault: out of memory, or the disk refuses.
            Interrupted: a signal; what was drawn is kept.
        """
        self._notices(family)
        self._keep(self._drawn(self.shots, lambda shot: self._draw(family, shot)))

    def hand_on(self, base: Family) -> list[Held]:
        """Lets the base model draw as far as the refiner takes over."""
        self._notices(base)
        self.kept = Kept()
        held: list[Held] = []
        unfinished = [shot for shot in self.shots if self._finished(shot) is None]
        total = sum(len(shot.seeds) for shot in unfinished)
        with self.progress.bar("Draw", total, unit="picture") as bar:
            for shot in unfinished:
                noise, asked = generators(shot), self._request(base, shot)
                with self._denoising(base, shot, asked) as tick:
                    latents = base.draw(asked, noise, tick).latents
                assert latents is not None
                held.append(Held(shot, latents.cpu(), noise))
                bar.advance(len(shot.seeds))
        return held

    def refine(self, refiner: Family, held: Sequence[Held]) -> None:
        """Ends what the base model handed on."""
        by_first = {one.shot.first: one for one in held}

        def end(shot: Shot) -> list[Picture]:
            one = by_first[shot.first]
            asked = replace(self._request(refiner, shot), latents=one.latents)
            with self._denoising(refiner, shot, asked) as tick, self._numbers_watched(shot):
                return pictures(shot, refiner.draw(asked, one.generators, tick))

        self._keep(self._drawn(self.shots, end))

    def step_grid(self, family: Family, step: int, count: int, prompts: Sequence[str] | None) -> None:
        """The grid after optimizer step `step`: about `count` pictures, of these prompts or the recipe's own."""
        section = {key: value for key, value in self.sampling.items() if key != "matrix"} | {"trajectory": 0}
        if section.get("prompts"):
            section["prompts"] = list(prompts or section["prompts"])[:count]
        each = max(1, count // max(1, len(section.get("prompts") or ())))
        few = shots(section | {"seeds": seeds(self.sampling)[:each]})
        drawn = self._drawn(few, lambda shot: self._draw(family, shot), again=False)
        self.samples.step_grid([picture.image for picture in drawn], step)

    def _request(self, family: Family, shot: Shot) -> Request:
        return request(family, shot, self.inputs, self.kept)

    def _draw(self, family: Family, shot: Shot) -> list[Picture]:
        asked = self._request(family, shot)
        with self._denoising(family, shot, asked) as tick, self._numbers_watched(shot):
            drawn = family.draw(asked, generators(shot), tick)
        labels = [family.facts.classes[label] for label in asked.labels] if asked.labels is not None else None
        return pictures(shot, drawn, labels)

    def _drawn(
        self, wanted: Sequence[Shot], hand: Callable[[Shot], list[Picture]], *, again: bool = True
    ) -> Iterator[Picture]:
        """The pictures one by one; with `again` those that an interrupted run wrote are taken as they are."""
        self.kept = Kept()  # the model may have learned since it drew before
        total = sum(len(shot.seeds) for shot in wanted)
        with self.progress.bar("Draw", total, unit="picture") as bar:
            for shot in wanted:
                ready = self._finished(shot) if again else None
                if ready is None:
                    ready = hand(shot)
                yield from ready
                bar.advance(len(ready))

    def _by_code(self, shot: Shot) -> AbstractContextManager[None]:
        largest = max(len(one.seeds) for one in self.shots)
        return nullcontext() if self._code is None or len(shot.seeds) == largest else self._code.eagerly()

    @contextmanager
    def _denoising(self, family: Family, shot: Shot, asked: Request) -> Iterator[Tick]:
        """A bar of denoising steps that a signal can stop, where running out of memory is one sentence."""
        with (
            guarded(self.values, drawing_mends(self.values)),
            self._by_code(shot),
            self.progress.bar("Denoise", family.calls(asked), unit="step") as bar,
        ):

            def tick() -> None:
                bar.advance()
                self.stop.check()

            yield tick

    @contextmanager
    def _numbers_watched(self, shot: Shot) -> Iterator[None]:
        """Says so where pictures come out black because they are not numbers, which numpy only warns of."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("always", message="invalid value encountered in cast")
            yield
        if any("invalid value" in str(warning.message) for warning in caught):
            which = f"{shot.first:05d}.png" + (f" to {shot.numbers[-1]:05d}.png" if len(shot.seeds) > 1 else "")
            dtype = self.values["compute"]["dtype"]
            wider = f"compute.dtype=fp32 instead of {dtype}, or " if dtype != "fp32" else ""
            self.progress.warn(
                f"{which}: the model's numbers became NaN and the picture is black: try {wider}"
                "another scheduler or another num_inference_steps"
            )

    def _finished(self, shot: Shot) -> list[Picture] | None:
        """The pictures of a shot that an interrupted run has written whole."""
        if self.sampling.get("trajectory") or not self.values["output"]["individual_images"]:
            return None
        images = [self.samples.finished(number) for number in shot.numbers]
        if any(image is None for image in images):
            return None
        return [
            Picture(number, shot.seeds[i], shot.prompt(i), None, shot.cell, image, [], withheld=False)
            for i, (number, image) in enumerate(zip(shot.numbers, images, strict=True))
            if image is not None
        ]

    def _keep(self, drawn: Iterator[Picture]) -> None:
        """Writes single pictures as they come, and what is made of many at the end."""
        matrix = self.sampling.get("matrix")
        rows, columns = axes(self.sampling) if matrix else ([], [])
        limit = len(rows) * len(columns) or GRID_LIMIT
        first: list[Picture] = []
        withheld = []
        with behind() as write:
            for picture in drawn:
                if self.values["output"]["individual_images"] and not self.samples.has_single(picture.number):
                    write(self.samples.single, picture.image, picture.number, self._texts(picture))
                if picture.withheld:
                    withheld.append(picture.number)
                if len(first) < limit:
                    first.append(picture)
        if withheld:
            self._tell_withheld(withheld)
        images = [picture.image for picture in first]
        if matrix:
            self.samples.sheet(images, rows, columns)
        else:
            self.samples.grid(images, "grid.png")
        if self.sampling.get("trajectory"):
            self.samples.trajectory([picture.moments for picture in first])

    def _texts(self, picture: Picture) -> dict[str, str]:
        """The PNG's texts beside the recipe; `parameters` is what web UIs read."""
        texts = {"seed": str(picture.seed)}
        if picture.label is not None:
            texts["label"] = picture.label
        if picture.prompt is not None:
            texts["parameters"] = parameters(
                picture.prompt,
                picture.cell.sampling,
                model=str(self.values["model"].get("id", self.values["name"])),
                seed=picture.seed,
                size=picture.image.size,
                loras=self.values["model"].get("loras", ()),
            )
        return texts

    def _tell_withheld(self, numbers: list[int]) -> None:
        which = ", ".join(f"{number:05d}.png" for number in numbers[:8]) + (", …" if len(numbers) > 8 else "")
        self.progress.warn(
            f"the model's safety checker withheld {len(numbers)} of the pictures ({which}: black); "
            "model.safety_checker: false draws without it"
        )

    def _notices(self, family: Family) -> None:
        """What a person should know before drawing, each once."""
        said: set[str] = set()
        for shot in self.shots:
            for notice in family.notices(self._request(family, shot)):
                if notice not in said:
                    said.add(notice)
                    self.progress.warn(notice)
