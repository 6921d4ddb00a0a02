"""Inspect and settle: fill every `auto`, pin what can move, and check what depends on the model and the data.

Reads configurations, headers and listings, never weights or pictures.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runner.data.source import Source, as_path, open_source
from runner.errors import DataError, EnvironmentFault, ModelError
from runner.language.problems import Problem, RecipeProblems
from runner.language.recipe import Recipe
from runner.models import family_class
from runner.models.family import Facts
from runner.shown import shown


@dataclass(frozen=True)
class Settled:
    """A recipe with nothing left open.

    Attributes:
        values: every key; no `auto`, absolute paths, pinned revisions. Running them again gives the same result.
        portable: the same with paths as the recipe gives them, for what leaves this machine.
        source: the data, listed but not read; None without data.
        model: what is known of the model; None without a model.
    """

    values: dict[str, Any]
    portable: dict[str, Any]
    source: Source | None
    model: Facts | None


def settle(recipe: Recipe, *, offline: bool) -> Settled:
    """Settles a checked recipe on this machine.

    Args:
        recipe: the resolved recipe.
        offline: never ask the hub.

    Raises:
        RecipeProblems: keys that do not fit this machine, the data or the model.
        DataError, ModelError, EnvironmentFault: as their sources say.
    """
    values = copy.deepcopy(recipe.values)
    values["compute"] |= _machine(values["compute"])
    if "sampling" in values and values["sampling"]["seed"] is None:
        values["sampling"]["seed"] = values["seed"]
    problems = list(_precision_problems(recipe, values["compute"]))
    if problems:
        raise RecipeProblems(problems)
    if "training" in values:
        from runner.training.optimizers import require

        require(values["training"]["optimizer"]["type"])
    portable_ids = {name: values[name]["id"] for name in ("data", "model") if "id" in values.get(name, {})}
    source = open_data(recipe, values, offline=offline) if "data" in values else None
    model = _model(recipe, values, source) if "model" in values else None
    problems = list(_label_problems(recipe, values, model))
    if problems:
        raise RecipeProblems(problems)
    portable = copy.deepcopy(values)
    for name, given in portable_ids.items():
        portable[name]["id"] = given
    return Settled(values, portable, source, model)


def _machine(compute: dict[str, Any]) -> dict[str, str]:
    """The device and number format in place of `auto`.

    Raises:
        EnvironmentFault: the device asked for is not there.
    """
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    device = compute["device"]
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        found = " and ".join(name for name, yes in there.items() if yes)
        raise EnvironmentFault(f"compute.device: {device} is not on this machine ({found} is): write auto or cpu")
    precision = compute["mixed_precision"]
    if precision == "auto":
        precision = "fp32" if device != "cuda" else "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return {"device": device, "mixed_precision": precision}


def _precision_problems(recipe: Recipe, compute: dict[str, Any]) -> Iterator[Problem]:
    if compute["mixed_precision"] == "fp16" and compute["device"] == "cpu":
        yield recipe.problem(
            ("compute", "mixed_precision"),
            "fp16-on-cpu",
            "fp16 needs a GPU: there is no loss scaling on a CPU; write auto, fp32 or bf16",
        )


def open_data(recipe: Recipe, values: dict[str, Any], *, offline: bool) -> Source:
    """The source of a recipe's data, listed; its path is made absolute and its revision pinned in `values`."""
    data = values["data"]
    if "id" in data:
        path = as_path(data["id"], recipe.folder_of(("data", "id")))
        if path is not None:
            data["id"] = str(path)
    if data.get("revision", "") is None and not _is_path(data["id"]):
        from runner.data.repository import commit

        data["revision"] = commit(data["id"], None, offline=offline)
    return open_source(data, offline=offline)


def _is_path(identifier: str) -> bool:
    return identifier.startswith("/") or identifier[1:3] in (":\\", ":/")


def _model(recipe: Recipe, values: dict[str, Any], source: Source | None) -> Facts:
    model = values["model"]
    if model["type"] == "pretrained":
        path = as_path(model["id"], recipe.folder_of(("model", "id")))
        if path is None:
            raise ModelError(
                f"model.id {shown(model['id'])} is not a folder here: this version of recipe draws from a local folder "
                "in diffusers' layout, such as a run's model/ folder"
            )
        if not path.is_dir():
            raise ModelError(f"model.id {shown(path)} is not there: give a folder in diffusers' layout")
        model["id"] = str(path)
        model["family"] = "pixel_unet"
        return family_class("pixel_unet").inspect(path)
    classes = _classes(recipe, values, source)
    pixel_unet = family_class("pixel_unet")
    model |= pixel_unet.block_types(model)
    return pixel_unet.from_recipe(model, values["scheduler"], values["data"]["resolution"], classes)


def _classes(recipe: Recipe, values: dict[str, Any], source: Source | None) -> list[str]:
    """The class names that the model is told about; fills `num_class_embeds`."""
    model = values["model"]
    wanted = model["num_class_embeds"]
    if wanted is None:
        return []
    classes = list(source.classes) if source is not None else []
    if not classes:
        raise DataError(
            "model.num_class_embeds needs classes, and the data has none: put the pictures into one folder per class, "
            "name data.label_column, or leave num_class_embeds out"
        )
    if wanted != "auto" and wanted != len(classes):
        message = f"the data has {len(classes)} classes: write {len(classes)} or auto"
        raise RecipeProblems([recipe.problem(("model", "num_class_embeds"), "class-count", message)])
    model["num_class_embeds"] = len(classes)
    return classes


def _label_problems(recipe: Recipe, values: dict[str, Any], model: Facts | None) -> Iterator[Problem]:
    sampling = values.get("sampling")
    if sampling is None or model is None:
        return
    for i, label in enumerate(sampling["labels"] or []):
        if label not in model.classes:
            known = ", ".join(map(shown, model.classes)) or "none"
            yield recipe.problem(
                ("sampling", "labels", i),
                "unknown-class",
                f"no class {shown(label)!r}: the model's classes are {known}",
            )
    if sampling["guidance_scale"] != 1 and not model.classes:
        message = "guidance needs a model with classes, and this one has none: write 1"
        yield recipe.problem(("sampling", "guidance_scale"), "guidance-without-classes", message)
