"""Run: data → model → training → sampling, into the run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.data.cache import Pictures, prepare
from runner.data.captions import require_captions
from runner.data.source import Source
from runner.data.texts import Texts
from runner.engine import engine
from runner.memory import free_memory, guarded, stage_mends
from runner.methods import method_of
from runner.models import family_class
from runner.models.family import DTYPES, Facts, Family
from runner.models.fast import lay_out
from runner.models.trainable import Trainable
from runner.outputs.card import card
from runner.outputs.files import whole_folder
from runner.outputs.folder import RunFolder
from runner.outputs.record import versions
from runner.outputs.sample_recipe import sample_recipe
from runner.outputs.samples import Samples
from runner.processes.world import World
from runner.progress import Progress
from runner.sampling.gallery import Gallery
from runner.sampling.preview import noised
from runner.sampling.step_grids import StepGrids
from runner.settle.settled import Settled
from runner.training import stage
from runner.training.prior import prior_pictures

if TYPE_CHECKING:
    from runner.captioning import CaptionFacts


class Run:
    """One run of a settled recipe in its folder.

    Args:
        settled: the recipe.
        folder: the run's folder, locked.
        cache_dir: the cache root.
        progress: the display.
        world: the processes: all prepare the data and train, the main one keeps what comes of it and draws; and the
            signals that stop them.
        allow_changes: whether a run goes on with other data than it began with.
    """

    def __init__(
        self,
        settled: Settled,
        folder: RunFolder,
        cache_dir: Path,
        progress: Progress,
        world: World,
        *,
        allow_changes: bool,
    ) -> None:
        self.allow_changes = allow_changes
        self.settled, self.values = settled, settled.values
        self.folder, self.cache_dir = folder, cache_dir
        self.progress, self.world = progress, world
        self.samples = Samples(folder, settled.portable)
        self.accelerator = engine(self.values["compute"], world)

    def __call__(self) -> None:
        """Runs the stages that the recipe has.

        Raises:
            DataError, ModelError, EnvironmentFault, CheckpointError, Diverged, Interrupted.
        """
        pictures = self._pictures() if self.settled.source is not None else None
        if self.settled.model is None:
            return
        if self.settled.refiner is not None:
            self._sample_with_refiner(self.settled.model, self.settled.refiner)
            return
        family = self._family(self._told(self.settled.model, pictures))
        timesteps = self.values.get("sampling", {}).get("noise_preview")
        if pictures is not None and timesteps and self.world.main:
            self.samples.noise_preview(noised(family, pictures, timesteps, self.values["seed"]), timesteps)
        if pictures is not None and "training" in self.values:
            self._train(family, pictures, self._prior(family))
        if "sampling" in self.values and self.world.main:
            self._sample(family)

    @cached_property
    def gallery(self) -> Gallery:
        """What draws the `sampling` section."""
        return Gallery(self.values, self.samples, self.progress, self.world.stop)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """A part of the run: announced, timed in run.json, and stopped by a sentence where memory runs out."""
        self.progress.stage(name)
        timed = self.folder.record.timed(name.lower()) if self.world.main else nullcontext()
        with timed, guarded(self.values, stage_mends(self.values, name)):
            yield

    def _pictures(self) -> Pictures:
        source = self.settled.source
        assert source is not None
        if self.settled.captioner is not None:
            source = self._captioned(source, self.settled.captioner)
        with self._stage("Data"):
            section = self.values["data"]
            cache_dir, progress, world = self.cache_dir, self.progress, self.world
            pictures = prepare(source, section=section, cache_dir=cache_dir, progress=progress, world=world)
            skipped = f", {len(pictures.skipped)} skipped" if pictures.skipped else ""
            classes = f", {len(pictures.classes)} classes" if pictures.classes else ""
            self.progress.say(f"{len(pictures)} of {pictures.found} pictures used{skipped}{classes}")
            if self.settled.reads_captions:
                missing = Texts(pictures, section, self.values["seed"]).missing()
                require_captions(missing, len(pictures), captioned=self.settled.captioner is not None)
        return pictures

    def _told(self, facts: Facts, pictures: Pictures | None) -> Facts:
        """The facts with the captions that the model will learn from, which a new tokenizer is made of."""
        if pictures is None or not self.settled.reads_captions:
            return facts
        texts = Texts(pictures, self.values["data"], self.values["seed"])
        return replace(facts, texts=tuple(texts.every(self.values["training"]["cache_variants"])))

    def _captioned(self, source: Source, captioner: CaptionFacts) -> Source:
        """The source with its captions."""
        from runner.captioning import Around, caption

        around = Around(
            device=self.accelerator.device,
            dtype=DTYPES[self.values["compute"]["dtype"]],
            cache_dir=self.cache_dir,
            folder=self.folder.path,
            progress=self.progress,
            world=self.world,
        )
        with self._stage("Captions"):
            return caption(source, captioner, self.values["data"], around)

    def _family(self, facts: Facts) -> Any:
        with self._stage("Model"):
            cls = family_class(facts.family)
            with self.world.main_first():  # it downloads what is not here yet
                family = cls.build(
                    facts,
                    device=self.accelerator.device,
                    seed=self.values["seed"],
                    compute=self.values["compute"],
                    progress=self.progress,
                )
            if "training" not in self.values:  # else once it is to learn
                lay_out(family, self.values["compute"])
            self.progress.say(f"{facts.family}, {_parameters(family)} parameters on {self.values['compute']['device']}")
        return family

    def _prior(self, family: Trainable) -> Pictures | None:
        """What the model draws of the class before it learns one thing of it."""
        if "prior" not in self.values["data"]:
            return None
        cache_dir, progress, stop = self.cache_dir, self.progress, self.world.stop
        with self._stage("Prior"), self.world.main_first():
            return prior_pictures(family, self.values, cache_dir=cache_dir, progress=progress, stop=stop)

    def _train(self, family: Trainable, pictures: Pictures, prior: Pictures | None) -> None:
        gallery = self.gallery if "sampling" in self.values else None
        grids = StepGrids(family, pictures, self.values["training"], self.samples, gallery, self._autocast)
        around = stage.Around(
            *(self.accelerator, self.folder, self.cache_dir, self.progress, grids),
            *(self.allow_changes, self.world),
        )
        with self._stage("Training"):
            for caution in family.cautions():
                self.progress.warn(caution)
            stage.run_training(family, pictures, prior, self.values, around)
            if self.world.main:
                self._keep_model(family)
                self.samples.gif()

    def _keep_model(self, family: Trainable) -> None:
        """model/ appears whole or not at all; a recipe beside it draws with it."""
        method = method_of(self.values)
        with whole_folder(self.folder.file("model")) as draft:
            method.save(family, self.values, draft)
            text = card(self.settled.portable, versions(), {"Parameters": _parameters(family)})
            (draft / "README.md").write_text(text, "utf-8")
        if family.KEYS:  # those of `sampling`
            learned = "/".join(filter(None, ["model", method.WEIGHTS]))
            self.folder.write_text("sample.yaml", sample_recipe(self.values, learned, str(self.folder.path)))

    def _sample(self, family: Family) -> None:
        with self._stage("Sampling"), self._autocast(), self._compiled(family):
            self.gallery.draw(family)

    def _sample_with_refiner(self, base: Facts, refiner: Facts) -> None:
        """Two models in turn, each freed before the next is loaded."""
        family = self._family(base)
        with self._stage("Sampling"), self._compiled(family):
            held = self.gallery.hand_on(family)
        del family
        free_memory()
        family = self._family(refiner)
        with self._stage("Refining"), self._compiled(family):
            self.gallery.refine(family, held)

    def _autocast(self) -> AbstractContextManager[Any]:
        """The training's number format; a model that only draws has its own, compute.dtype."""
        return self.accelerator.autocast() if "training" in self.values else nullcontext()

    def _compiled(self, family: Family) -> AbstractContextManager[None]:
        """Code for a model that only draws; a training's is made for its steps."""
        on = self.values["compute"]["compile"] and "training" not in self.values
        return self.gallery.compiled(family, self.cache_dir / "compiled") if on else nullcontext()


def _parameters(family: Family) -> str:
    return f"{sum(p.numel() for part in family.parts.values() for p in part.parameters()):,}"
