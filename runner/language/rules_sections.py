"""Rules: which sections a recipe needs, and what its name may be."""

from __future__ import annotations

from collections.abc import Iterator

from runner.language.drawn import kind_of
from runner.language.view import Rule, Told, View, rule

_NEW = {"pixel_unet", "latent_unet", "autoencoder_kl"}  # types of models that start from random weights
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


@rule("sections")
def something_to_do(view: View) -> Iterator[Told]:
    if not view.has("training") and not view.has("sampling") and not view.has("data.caption"):
        yield Told("name", "nothing to do: add a 'training:' section, a 'sampling:' section or both")


@rule("sections")
def training_needs_data_and_model(view: View) -> Iterator[Told]:
    needs = {
        "data": "pictures: add a 'data:' section, such as 'data: {type: builtin}'",
        "model": "a model: add a 'model:' section, such as 'model: {type: pixel_unet}'",
    }
    missing = [words for section, words in needs.items() if not view.has(section)]
    if view.has("training") and missing:
        yield Told("training", f"training needs {'; and '.join(missing)}")


@rule("sections")
def sampling_needs_a_model(view: View) -> Iterator[Told]:
    if view.has("sampling") and not view.has("model") and not view.has("training"):
        yield Told("sampling", "sampling needs a model: add 'model: {type: pretrained, id: …}'")


@rule("untrained")
def new_model_is_trained(view: View) -> Iterator[Told]:
    kind = view.get("model.type")
    if kind in _NEW and view.has("sampling") and not view.has("training"):
        yield Told(
            "model.type",
            f"{kind_of(kind)} starts from random weights and nothing trains it: add a 'training:' section, "
            "or draw from a model that exists with 'type: pretrained'",
        )


@rule("unused-key")
def data_is_used(view: View) -> Iterator[Told]:
    idle = view.has("data") and view.has("sampling") and not view.has("training")
    if (
        idle
        and not view.has("data.caption")
        and view.get("model.type") == "pretrained"
        and not view.get("sampling.noise_preview")
    ):
        yield Told("data", "nothing uses the data: there is no 'training:' section", "warning")


@rule("refused")
def name_is_no_device(view: View) -> Iterator[Told]:
    name = view.get("name")
    if name.split(".")[0] in _RESERVED:
        yield Told("name", f"name: '{name}' is refused: it names a device on Windows; choose another")


@rule("name")
def name_is_portable(view: View) -> Iterator[Told]:
    if view.get("name").endswith("."):
        yield Told("name", "name must not end in '.': Windows drops the dot from the folder's name")


RULES: list[Rule] = [
    something_to_do,
    training_needs_data_and_model,
    sampling_needs_a_model,
    new_model_is_trained,
    data_is_used,
    name_is_no_device,
    name_is_portable,
]
