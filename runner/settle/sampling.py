"""Sampling: the family's own values for each `auto`, and what the model cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runner.errors import ModelError
from runner.language import schemas
from runner.language.document import Steps
from runner.language.problems import Problem, RecipeProblems
from runner.language.recipe import Recipe
from runner.language.resolve import fill
from runner.models import family_class
from runner.models.family import Facts
from runner.models.index import family_of
from runner.prompts.lost import read_prompts
from runner.sampling.requests import Inputs
from runner.settle.given import Given
from runner.shown import shown

_IMAGES = ("init_image", "mask_image")
_SIDES = ("height", "width")  # one that is missing is told at the other


def settle_sampling(given: Given, model: Facts) -> Facts | None:
    """Settles the `sampling` section in place.

    Returns:
        The facts of the refiner, if the recipe names one.

    Raises:
        RecipeProblems: keys that mean nothing to this family.
        DataError: a prompt file or a picture is not there.
    """
    values, family = given.values, family_class(model.family)
    _settle_scheduler(values, model)
    section = values["sampling"]
    foreign = list(_foreign(given.recipe, section, model))
    if foreign:
        raise RecipeProblems(foreign)
    for key in [key for key in section if key not in family.KEYS]:
        del section[key]
    if section["seed"] is None and section.get("seeds") is None:
        section["seed"] = values["seed"]
    if isinstance(section.get("prompts"), str):
        section["prompts"] = read_prompts(given.find(("sampling", "prompts")))
    for key in _IMAGES:
        if section.get(key) is not None:
            given.keep(("sampling", key))
    Inputs.of(section)  # that can be read, before anything is loaded
    if section.get("matrix"):
        section["matrix"] = _as_ordered(given.recipe, section["matrix"])
        section |= {key: entries[0] for key, entries in section["matrix"].items()}
    section |= family.defaults(model, section)
    return _refiner(given) if section.get("refiner") else None


def _as_ordered(recipe: Recipe, matrix: dict[str, Any]) -> dict[str, Any]:
    """The matrix in the recipe's own order, which decides what goes across the sheet."""
    node = recipe.document.node(("sampling", "matrix"))
    written = list(node.value) if node is not None and isinstance(node.value, dict) else []
    return {key: matrix[key] for key in written if key in matrix}


def _settle_scheduler(values: dict[str, Any], model: Facts) -> None:
    """sampling.scheduler: as written, else the `scheduler` of a recipe that only samples, else the model's own."""
    if values["model"]["type"] != "pretrained" or "training" in values:
        return
    sampling = values["sampling"]
    if "scheduler" in values:
        sampling = {"scheduler": values.pop("scheduler")} | sampling
    elif "refiner" not in sampling:  # which has one of its own
        own = model.configs["scheduler"]["_class_name"].removesuffix("Scheduler")
        sampling = {"scheduler": {"type": own}} | sampling
    order = schemas.read("sampling/pretrained.json")["properties"]
    values["sampling"] = {key: sampling[key] for key in order if key in sampling}


def _foreign(recipe: Recipe, section: dict[str, Any], model: Facts) -> Iterator[Problem]:
    """Keys that the recipe writes and this family does not know; one that is written with its default asks nothing."""
    known = family_class(model.family).KEYS
    defaults = fill(schemas.places_of(("sampling",), recipe.document.data), {})
    for key, value in section.items():
        if key not in known and value != defaults.get(key) and recipe.document.node(("sampling", key)) is not None:
            yield recipe.problem(
                ("sampling", key), "not-of-this-family", f"{key} means nothing to a {model.family} model: take it out"
            )
    for key in section.get("matrix") or {}:
        if key not in known:
            yield recipe.problem(
                ("sampling", "matrix", key), "not-of-this-family", f"{key} means nothing to a {model.family} model"
            )


def _refiner(given: Given) -> Facts:
    section = given.values["sampling"]["refiner"]
    files = given.files(("sampling", "refiner"))
    name = family_of(files, "auto")
    if name != "sdxl_refiner":
        raise ModelError(
            f"sampling.refiner.id: {shown(files.origin)} is a {name} model and no SDXL refiner: name one, such as "
            "stabilityai/stable-diffusion-xl-refiner-1.0, or take 'refiner:' out"
        )
    facts: Facts = family_class(name).inspect(files, variant=section["variant"], allow_pickle=given.allow_pickle)
    return facts


def misfits(recipe: Recipe, section: dict[str, Any], model: Facts) -> Iterator[Problem]:
    """What the model cannot do, each key of the matrix tried with each of its values."""
    family = family_class(model.family)
    for misfit in family.problems(model, section):
        yield recipe.problem(_place(recipe, misfit.key), misfit.rule, misfit.message)
    for key, entries in (section.get("matrix") or {}).items():
        for i, entry in enumerate(entries):
            for misfit in family.problems(model, {**section, key: entry}):
                steps = tuple(misfit.key.split("."))
                if steps[0] == key:
                    yield recipe.problem(("sampling", "matrix", key, i, *steps[1:]), misfit.rule, misfit.message)


def _place(recipe: Recipe, key: str) -> Steps:
    steps: Steps = tuple(int(step) if step.isdigit() else step for step in key.split("."))
    at_root = steps[0] == "scheduler" and recipe.document.node(("sampling", "scheduler")) is None
    if at_root:
        return steps
    place = ("sampling", *steps)
    beside = _SIDES if steps[0] in _SIDES else ()
    written: list[Steps] = [place, *(("sampling", *section, side) for section in ((), ("matrix",)) for side in beside)]
    return next((steps for steps in written if recipe.document.node(steps) is not None), place)
