"""Run: data → model → training → sampling, into the run's folder."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from PIL import Image

from runner.data.cache import Pictures, prepare
from runner.models import family_class
from runner.models.family import Family
from runner.outputs.folder import RunFolder
from runner.outputs.samples import GRID_LIMIT, Samples
from runner.progress import Progress
from runner.sampling import stage as sampling_stage
from runner.sampling.preview import noised
from runner.settle import Settled
from runner.signals import Stop
from runner.training.stage import run_training

_ACCELERATE = {"fp32": "no"}  # accelerate's word


class Run:
    """One run of a settled recipe in its folder.

    Args:
        settled: the recipe.
        folder: the run's folder, locked.
        cache_dir: the cache root.
        progress: the display.
        stop: the signals.
    """

    def __init__(self, settled: Settled, folder: RunFolder, cache_dir: Path, progress: Progress, stop: Stop) -> None:
        self.settled, self.values = settled, settled.values
        self.folder, self.cache_dir = folder, cache_dir
        self.progress, self.stop = progress, stop
        self.samples = Samples(folder, settled.portable)
        compute = self.values["compute"]
        precision = compute["mixed_precision"]
        self.accelerator = Accelerator(
            mixed_precision=_ACCELERATE.get(precision, precision), cpu=compute["device"] == "cpu"
        )

    def __call__(self) -> None:
        """Runs the stages that the recipe has.

        Raises:
            DataError, ModelError, EnvironmentFault, CheckpointError, Diverged, Interrupted.
        """
        pictures = self._pictures() if "data" in self.values else None
        family = self._family() if self.settled.model is not None else None
        if family is None:
            return
        if pictures is not None and self._sampling.get("noise_preview"):
            timesteps = self._sampling["noise_preview"]
            self.samples.noise_preview(noised(family, pictures, timesteps, self.values["seed"]), timesteps)
        if pictures is not None and "training" in self.values:
            self._train(family, pictures)
        if "sampling" in self.values:
            self._sample(family)

    @property
    def _sampling(self) -> dict[str, Any]:
        section: dict[str, Any] = self.values.get("sampling", {})
        return section

    @property
    def _seed(self) -> int:
        """The seed of picture 0."""
        seed = self._sampling["seed"]
        return self.values["seed"] if seed is None else seed

    def _pictures(self) -> Pictures:
        assert self.settled.source is not None
        self.progress.stage("Data")
        section = self.values["data"]
        pictures = prepare(self.settled.source, section=section, cache_dir=self.cache_dir, progress=self.progress)
        skipped = f", {len(pictures.skipped)} skipped" if pictures.skipped else ""
        classes = f", {len(pictures.classes)} classes" if pictures.classes else ""
        self.progress.say(f"{len(pictures)} of {pictures.found} pictures used{skipped}{classes}")
        return pictures

    def _family(self) -> Family:
        facts = self.settled.model
        assert facts is not None
        self.progress.stage("Model")
        family: Family = family_class(facts.family).build(
            facts, device=self.accelerator.device, seed=self.values["seed"]
        )
        count = sum(p.numel() for part in family.parts.values() for p in part.parameters())
        self.progress.say(f"{facts.family}, {count:,} parameters on {self.accelerator.device}")
        return family

    def _train(self, family: Family, pictures: Pictures) -> None:
        self.progress.stage("Training")
        run_training(
            family,
            pictures,
            self.values,
            accelerator=self.accelerator,
            folder=self.folder,
            progress=self.progress,
            stop=self.stop,
            has_grid=self.samples.has_step_grid,
            draw_grid=lambda step: self._draw_step_grid(family, step),
        )
        self._keep_model(family)
        self.samples.gif()

    def _keep_model(self, family: Family) -> None:
        """model/ appears whole or not at all."""
        final, draft = self.folder.path / "model", self.folder.path / ".tmp-model"
        if final.is_dir():
            return
        shutil.rmtree(draft, ignore_errors=True)
        family.save(draft)
        draft.rename(final)

    def _draw_step_grid(self, family: Family, step: int) -> None:
        count = min(self.values["training"]["sample_images"], self._sampling["num_images"])
        sampling = {**self._sampling, "trajectory": 0}
        images: list[Image.Image] = []
        with (
            self._autocast(),
            self.progress.bar("Draw", sampling_stage.calls(family, sampling, count), unit="step") as bar,
        ):
            for batch in sampling_stage.draw(
                family, sampling, seed=self._seed, numbers=range(count), tick=lambda: self._tick(bar)
            ):
                images += [picture.image for picture in batch]
        self.samples.step_grid(images, step)

    def _sample(self, family: Family) -> None:
        self.progress.stage("Sampling")
        count, shown, moments = self._sampling["num_images"], list[Image.Image](), list[list[Image.Image]]()
        with (
            self._autocast(),
            self.progress.bar("Draw", sampling_stage.calls(family, self._sampling, count), unit="step") as bar,
        ):
            for batch in sampling_stage.draw(
                family, self._sampling, seed=self._seed, numbers=range(count), tick=lambda: self._tick(bar)
            ):
                for picture in batch:
                    if self.values["output"]["individual_images"]:
                        self.samples.single(picture.image, picture.number, picture.seed, picture.label)
                    if len(shown) < GRID_LIMIT:
                        shown.append(picture.image)
                        moments.append(picture.moments)
        self.samples.grid(shown, "grid.png")
        if self._sampling["trajectory"]:
            self.samples.trajectory(moments)

    def _tick(self, bar: Any) -> None:
        bar.advance()
        self.stop.check()

    def _autocast(self) -> AbstractContextManager[Any]:
        """The training's number format on a GPU; exact fp32 on a CPU."""
        return self.accelerator.autocast() if self.accelerator.device.type != "cpu" else nullcontext()
