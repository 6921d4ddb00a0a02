"""The adapter: its open values, and what of it does not fit the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runner.errors import ModelError
from runner.language import schemas
from runner.language.problems import Problem
from runner.language.recipe import Recipe
from runner.models import family_class
from runner.models.family import DTYPES, Facts
from runner.models.parts import load_part
from runner.progress import create
from runner.shown import shown


def settle_adapter(values: dict[str, Any]) -> None:
    """Fills alpha, and for a new word the captions that it learns from, in place."""
    adapter, data = values["adapter"], values["data"]
    if adapter.get("alpha") == "auto":
        adapter["alpha"] = float(adapter["rank"])
    if adapter["type"] == "textual_inversion" and not (data["caption_templates"] or data["instance_prompt"]):
        templates = schemas.read("adapter/textual_inversion.json")["x-templates"][adapter["learnable_property"]]
        data["caption_templates"] = [template.replace("{token}", adapter["token"]) for template in templates]


def adapter_misfits(recipe: Recipe, values: dict[str, Any], model: Facts) -> Iterator[Problem]:
    """What of the adapter this model cannot take."""
    kinds = {"lora": _lora_misfits, "textual_inversion": _word_misfits}
    return kinds[values["adapter"]["type"]](recipe, values, model)


def _lora_misfits(recipe: Recipe, values: dict[str, Any], model: Facts) -> Iterator[Problem]:
    from runner.methods.lora import targets_of

    adapter, family = values["adapter"], family_class(model.family)
    if not family.TEXT_PARTS:
        message = f"a {model.family} model takes no LoRA: remove the adapter, and all of it learns"
        yield recipe.problem(("adapter", "type"), "adapter", message)
        return
    can = [family.DENOISER, *family.TEXT_PARTS]
    foreign = [(i, name) for i, name in enumerate(adapter["parts"]) if name not in can]
    for i, name in foreign:
        message = f"a {model.family} model has no {shown(name)} to adapt: it has {', '.join(can)}"
        yield recipe.problem(("adapter", "parts", i), "adapter", message)
    if not foreign:
        try:
            targets_of(family.skeletons(model), adapter)
        except ModelError as error:
            yield recipe.problem(("adapter", "target_modules"), "adapter", str(error).partition(": ")[2])


def _word_misfits(recipe: Recipe, values: dict[str, Any], model: Facts) -> Iterator[Problem]:
    from runner.methods.textual_inversion import check_words

    if not family_class(model.family).TEXT_PARTS:
        message = f"a {model.family} model reads no text: there is no word to learn"
        yield recipe.problem(("adapter", "type"), "adapter", message)
    for name, part in model.parts.items():
        here = all(part.files.at(file) is not None for file in part.names)
        if name.startswith("tokenizer") and here:  # else it is told when the files have come
            tokenizer = load_part(part, part.files.fetch(part.names, create(quiet=True)), dtype=DTYPES["fp32"])
            try:
                check_words(tokenizer, values["adapter"])
            except ModelError as error:
                yield recipe.problem(("adapter", "token"), "adapter", str(error).partition(": ")[2])
                return
