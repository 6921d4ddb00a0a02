"""A model that starts from random weights: described by the recipe."""

from __future__ import annotations

from runner.data.source import Source
from runner.errors import DataError
from runner.language.problems import RecipeProblems
from runner.models import family_class
from runner.models.family import Facts
from runner.settle.given import Given
from runner.settle.model import vae


def new_model(given: Given, source: Source | None) -> Facts:
    """The facts of a model that a `model` section describes, whose open sizes are filled in.

    Raises:
        DataError: it should have classes, and the data has none.
        ModelError: its VAE is damaged, or none.
        RecipeProblems: another number of classes.
    """
    return _DESCRIBED[given.values["model"]["type"]](given, source)


def _pixel_unet(given: Given, source: Source | None) -> Facts:
    values, family = given.values, family_class("pixel_unet")
    classes = _classes(given, source)
    values["model"] |= family.block_types(values["model"])
    facts: Facts = family.from_recipe(values["model"], values["scheduler"], values["data"]["resolution"], classes)
    return facts


def _latent_unet(given: Given, _source: Source | None) -> Facts:
    values, family = given.values, family_class("latent_unet")
    values["model"] |= family.block_types(values["model"])
    part, config = vae(given)
    resolution = values["data"]["resolution"]
    facts: Facts = family.from_recipe(values["model"], values["scheduler"], resolution, part, config)
    return facts


def _autoencoder_kl(given: Given, _source: Source | None) -> Facts:
    values = given.values
    facts: Facts = family_class("autoencoder_kl").from_recipe(values["model"], values["data"]["resolution"])
    return facts


_DESCRIBED = {"pixel_unet": _pixel_unet, "latent_unet": _latent_unet, "autoencoder_kl": _autoencoder_kl}


def _classes(given: Given, source: Source | None) -> list[str]:
    """The class names that the model is told about; fills `num_class_embeds`."""
    model = given.values["model"]
    wanted = model["num_class_embeds"]
    if wanted is None:
        return []
    classes = given.classes or (list(source.classes) if source is not None else [])
    if not classes:
        raise DataError(
            "model.num_class_embeds needs classes, and the data has none: put the pictures into one folder per class, "
            "name data.label_column, or leave num_class_embeds out"
        )
    if wanted != "auto" and wanted != len(classes):
        message = f"the data has {len(classes)} classes: write {len(classes)} or auto"
        raise RecipeProblems([given.recipe.problem(("model", "num_class_embeds"), "class-count", message)])
    model["num_class_embeds"] = len(classes)
    return classes
