"""Inspect and settle: fill every `auto`, pin what can move, and check what depends on the model and the data.

Reads configurations, headers and listings, and the pictures that drawing starts from; never weights or data.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.data.source import Source
from runner.language.as_given import comments, put
from runner.language.document import Steps
from runner.language.problems import RecipeProblems
from runner.language.recipe import Recipe
from runner.language.write import to_yaml
from runner.models import family_class
from runner.models.family import Facts
from runner.secrets import redact
from runner.settle import machine, processes, speed
from runner.settle.given import Given
from runner.settle.learning import settle_learning
from runner.settle.model import saved_model
from runner.settle.new_model import new_model
from runner.settle.sampling import misfits, settle_sampling

if TYPE_CHECKING:
    from runner.captioning import CaptionFacts


@dataclass(frozen=True)
class Settled:
    """A recipe with nothing left open.

    Attributes:
        values: every key; no `auto`, absolute paths, pinned revisions. Running them again gives the same result.
        written: the paths that the recipe gives otherwise, as it gives them.
        source: the data, listed but not read; None without data.
        model: what is known of the model; None without a model.
        refiner: what is known of the model that ends the denoising, if there is one.
        captioner: what is known of the model that writes captions, if there is one.
    """

    values: dict[str, Any]
    written: dict[Steps, str]
    source: Source | None
    model: Facts | None
    refiner: Facts | None = None
    captioner: CaptionFacts | None = None

    @property
    def portable(self) -> dict[str, Any]:
        """The values with paths as the recipe gives them, for what leaves this machine."""
        portable = copy.deepcopy(self.values)
        for path, text in self.written.items():
            put(portable, path, text)
        return portable

    @property
    def text(self) -> str:
        """The recipe of `values`, whose comments keep what leaves this machine."""
        return comments(self.written) + to_yaml(self.values, header=True)

    @property
    def reads_captions(self) -> bool:
        """Whether what learns is told what pictures show."""
        if self.model is None or "training" not in self.values:
            return False
        return bool(family_class(self.model.family).TEXT_PARTS)


def settle(recipe: Recipe, *, offline: bool, allow_pickle: bool = False, classes: list[str] | None = None) -> Settled:
    """Settles a checked recipe on this machine.

    Args:
        recipe: the resolved recipe.
        offline: never ask the hub.
        allow_pickle: weights may come from pickles, read with weights_only.
        classes: those of the data that a model is told about, where another process has read them already.

    Raises:
        RecipeProblems: keys that do not fit this machine, the data or the model.
        DataError, ModelError, EnvironmentFault, Refused: as their sources say.
    """
    values = copy.deepcopy(recipe.values)
    values["description"] = redact(values["description"])  # it decides nothing, and stands in all that a run keeps
    given = Given(recipe, values, offline=offline, allow_pickle=allow_pickle, classes=classes)
    values["compute"] |= machine.settle(values)
    values["compute"] |= processes.settle(values)
    _raise([*machine.problems(recipe, values), *processes.problems(recipe, values), *speed.problems(recipe, values)])
    if "training" in values:
        from runner.training.optimizers import require

        require(values["training"]["optimizer"]["type"])
    source = given.data() if "data" in values else None
    pictures = source.shown(values["data"].get("max_images")) if source is not None else None
    values["compute"] |= speed.settle(values, pictures)
    captioner = _captioner(given) if "caption" in values.get("data", {}) else None
    model = refiner = None
    if "model" in values:
        saved = values["model"]["type"] == "pretrained"
        model = saved_model(given) if saved else new_model(given, source)
        if "training" in values:
            model = settle_learning(given, model)
        _raise(speed.misfits(recipe, values, model))
        values["compute"] |= speed.settle_model(values, model)
        values["compute"] |= machine.settle_drawing(values, model if saved else None)
        if "sampling" in values:
            refiner = settle_sampling(given, model)
            _raise(misfits(recipe, values["sampling"], model))
    else:
        values["compute"] |= machine.settle_captioning(values["compute"])
    return Settled(values, given.written, source, model, refiner, captioner)


def _captioner(given: Given) -> CaptionFacts:
    from runner.captioning import inspect

    return inspect(given.files(("data", "caption")), allow_pickle=given.allow_pickle)


def _raise(problems: Any) -> None:
    found = list(problems)
    if found:
        raise RecipeProblems(found)
