"""Learning: which weights learn, by which method and schedule; what of it the model cannot do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runner.language import schemas
from runner.language.problems import Problem, RecipeProblems
from runner.language.recipe import Recipe
from runner.models import family_class
from runner.models.family import Facts
from runner.settle.adapter import adapter_misfits, settle_adapter
from runner.settle.given import Given
from runner.shown import shown

if TYPE_CHECKING:
    from torch import nn

_INPAINTING = 9  # input channels of a UNet that is told the mask


def settle_learning(given: Given, model: Facts) -> Facts:
    """Settles what learns, in place.

    Returns:
        The model's facts with the noise schedule that it is trained with.

    Raises:
        RecipeProblems: it cannot be trained so.
    """
    recipe, values = given.recipe, given.values
    _raise(_untrainable(recipe, values, model))
    family = family_class(model.family)
    if "adapter" in values:
        settle_adapter(values)
        _raise(adapter_misfits(recipe, values, model))
    else:
        parts = family.skeletons(model)
        _settle_freeze(values, family, parts)
        _raise(_freeze_misfits(recipe, values["freeze"], family, parts))
    _raise(_size_misfits(recipe, values, model))
    if values["model"]["type"] == "pretrained" and "scheduler" in values:
        if family.PIXEL_PARTS:  # latents go beyond [-1, 1], where DDPM would clip them when drawing
            values["scheduler"] = _unclipped(values["scheduler"])
        _raise(_schedule_misfits(recipe, values, model))
        return replace(model, schedule=values["scheduler"])
    return model


def _settle_freeze(values: dict[str, Any], family: Any, parts: Mapping[str, nn.Module]) -> None:
    """Writes `freeze` with what never learns, in its place after `model`: a settled recipe settles to itself."""
    can_learn = {family.DENOISER, *family.TEXT_PARTS, *family.PIXEL_PARTS}
    freeze = values.pop("freeze", list(family.FROZEN))
    freeze = [*freeze, *(name for name in parts if name not in can_learn and name not in freeze)]
    items = list(values.items())
    place = 1 + list(values).index("model")
    values.clear()
    values.update([*items[:place], ("freeze", freeze), *items[place:]])


def _unclipped(scheduler: dict[str, Any]) -> dict[str, Any]:
    """The section with `clip_sample` off where it does not say, in the schema's order: latents reach beyond [-1, 1]."""
    filled = {"clip_sample": False, **scheduler}
    order = schemas.read(f"scheduler/{scheduler['type']}.json")["properties"]
    return {key: filled[key] for key in order if key in filled}


def _raise(problems: Iterator[Problem]) -> None:
    found = list(problems)
    if found:
        raise RecipeProblems(found)


def _untrainable(recipe: Recipe, values: dict[str, Any], model: Facts) -> Iterator[Problem]:
    family = family_class(model.family)
    place = ("model", "id") if "id" in values["model"] else ("model", "type")
    if not getattr(family, "DENOISER", ""):
        message = f"a {model.family} model can be sampled from but not trained yet: stable_diffusion and "
        yield recipe.problem(place, "not-trainable", f"{message}stable_diffusion_xl models can be")
    elif model.configs.get("unet", {}).get("in_channels") == _INPAINTING:
        message = "this model was made for inpainting and cannot be trained yet: take the plain model of its kind"
        yield recipe.problem(place, "not-trainable", message)
    for key in ("loras", "embeddings"):
        if values["model"].get(key):
            message = f"{key} are laid over a model for drawing: take them out of a recipe that trains"
            yield recipe.problem(("model", key), "not-trainable", message)


def _freeze_misfits(
    recipe: Recipe, freeze: list[str], family: Any, parts: Mapping[str, nn.Module]
) -> Iterator[Problem]:
    """Patterns that match nothing; a VAE that would learn; nothing that learns."""
    from runner.methods.full import frozen

    names = [f"{name}.{key}" for name, part in parts.items() for key, _ in part.named_parameters()]
    for i, pattern in enumerate(freeze):
        if not any(frozen(name, [pattern]) for name in names):
            message = f"nothing of the model is called {shown(pattern)!r}: its parts are {', '.join(parts)}"
            yield recipe.problem(("freeze", i), "freeze", message)
    place = ("freeze",) if recipe.document.node(("freeze",)) is not None else ("model", "type")
    learning = [name for name in names if not frozen(name, freeze)]
    if not learning:
        yield recipe.problem(place, "freeze", "every part of the model is frozen: nothing would learn")
    for part in family.PIXEL_PARTS:
        if family.TEXT_PARTS and any(name.startswith(f"{part}.") for name in learning):
            message = f"the {part} does not learn from a denoising loss: write '{part}' into freeze"
            yield recipe.problem(place, "freeze", message)


def _schedule_misfits(recipe: Recipe, values: dict[str, Any], model: Facts) -> Iterator[Problem]:
    """Zero terminal SNR for a model that predicts noise: its last timestep would teach nothing."""
    own = model.configs["scheduler"].get("prediction_type", "epsilon")
    if (
        values["scheduler"].get("rescale_betas_zero_snr")
        and values["scheduler"].get("prediction_type", own) == "epsilon"
    ):
        message = "at zero terminal SNR noise says nothing of the picture: add prediction_type: v_prediction"
        yield recipe.problem(("scheduler", "rescale_betas_zero_snr"), "zero-snr", message)


def _size_misfits(recipe: Recipe, values: dict[str, Any], model: Facts) -> Iterator[Problem]:
    """A resolution that the model cannot work on."""
    family, resolution = family_class(model.family), values["data"]["resolution"]
    if not family.PIXEL_PARTS:
        size = model.configs["unet"]["sample_size"]
        if resolution != size:
            message = f"the model was made for pictures of {size} pixels: write {size}"
            yield recipe.problem(("data", "resolution"), "resolution", message)
        return
    factor = family.vae_scale_factor(model)
    if resolution % factor:
        message = f"the model works on pictures whose sides are multiples of {factor}: {resolution} is none"
        yield recipe.problem(("data", "resolution"), "resolution", message)
