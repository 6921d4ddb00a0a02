"""Rules of prompts: which syntax reads what is written."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.language.drawn import FLOW_FAMILIES
from runner.language.view import Rule, Told, View, rule
from runner.shown import shown

# How web UIs write weights: ((word)), (word:1.2), BREAK between two parts.
_WEIGHTS = re.compile(r"\(\(.+?\)\)|\(\(|\([^()]+:\s*[0-9.]+\s*\)|(?:(?<=\s)|^)BREAK(?=\s|$)")
_LORA = re.compile(r"<(lora|lyco|hypernet):[^>]*>")


@rule("prompt-syntax")
def weights_are_of_stable_diffusion(view: View) -> Iterator[Told]:
    family = view.get("model.family")
    written = [*view.entries("sampling.matrix.prompt_syntax"), "sampling.prompt_syntax"]
    for place in written:
        if view.get(place) == "weighted" and family in (*FLOW_FAMILIES, "pixel_unet"):
            yield Told(
                place,
                f"prompt_syntax: weighted is of stable_diffusion and stable_diffusion_xl models, and this is {family}: "
                "write plain",
            )


@rule("prompt-syntax")
def weights_are_read_as_weights(view: View) -> Iterator[Told]:
    plain = view.get("sampling.prompt_syntax") == "plain" and not view.entries("sampling.matrix.prompt_syntax")
    if not plain or view.get("model.family") in FLOW_FAMILIES:
        return
    for place in _texts(view):
        if found := _WEIGHTS.search(view.get(place) or ""):
            yield Told(
                place,
                f"'{shown(found.group(), 40)}' is drawn as written: prompt_syntax: weighted reads weights",
                "warning",
            )
            return  # one key mends them all


@rule("prompt-lora")
def loras_are_named_in_the_model(view: View) -> Iterator[Told]:
    for place in _texts(view):
        if found := _LORA.search(view.get(place) or ""):
            yield Told(
                place,
                f"'{shown(found.group(), 40)}' loads nothing: name the file under model.loras and take it out here",
                "warning",
            )


def _texts(view: View) -> list[str]:
    """The places of all texts that a model reads."""
    lists = [*view.entries("sampling.prompts"), *view.entries("sampling.matrix.negative_prompt")]
    keys = ["negative_prompt", "prompt_2", "prompt_3", "negative_prompt_2", "negative_prompt_3"]
    return [*lists, *(f"sampling.{key}" for key in keys)]


RULES: list[Rule] = [
    weights_are_of_stable_diffusion,
    weights_are_read_as_weights,
    loras_are_named_in_the_model,
]
