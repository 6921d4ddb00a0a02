"""Rules of adapters: which models they go with, and what their files are."""

from __future__ import annotations

from collections.abc import Iterator

from runner.language.drawn import kind_of
from runner.language.view import Rule, Told, View, rule


@rule("freeze")
def an_adapter_freezes_the_model(view: View) -> Iterator[Told]:
    if view.has("adapter") and view.written("freeze") and view.has("freeze"):
        yield Told(
            "freeze",
            "with an adapter all of the model is frozen: remove this line; adapter.parts says where a LoRA sits",
        )


@rule("adapter")
def an_adapter_is_trained(view: View) -> Iterator[Told]:
    kind, adapter = view.get("model.type"), view.get("adapter.type")
    if adapter is None:
        return
    if not view.has("training"):
        key = "embeddings" if adapter == "textual_inversion" else "loras"
        yield Told(
            "adapter", f"an adapter is what learns, and nothing is trained: to draw with one, name it in model.{key}"
        )
    elif kind in ("pixel_unet", "autoencoder_kl"):
        yield Told(
            "adapter.type",
            f"an adapter goes with a model that exists: {kind_of(kind)} starts from random weights; "
            "use model.type: pretrained",
        )
    elif adapter == "textual_inversion" and kind == "latent_unet":
        yield Told(
            "adapter.type",
            "a new word goes with a model that knows others: a latent_unet starts from random weights; "
            "use model.type: pretrained",
        )
    elif adapter == "textual_inversion" and view.get("model.family") == "pixel_unet":
        yield Told("adapter.type", "a pixel_unet reads no text: there is no word to learn")


@rule("adapter")
def each_part_once(view: View) -> Iterator[Told]:
    parts = view.get("adapter.parts") or []
    for index, part in enumerate(parts):
        if part in parts[:index]:
            yield Told(f"adapter.parts.{index}", f"'{part}' is named twice")
        elif part == "text_encoder_2" and view.get("model.family") == "stable_diffusion":
            yield Told(f"adapter.parts.{index}", "a stable_diffusion model has one text encoder: write text_encoder")


@rule("formats")
def kohya_is_without_dora(view: View) -> Iterator[Told]:
    if "kohya" in (view.get("output.formats") or []) and view.get("adapter.use_dora"):
        yield Told("adapter.use_dora", "no kohya file brings DoRA to other programs yet: write formats: [diffusers]")


@rule("formats")
def kohya_is_of_loras(view: View) -> Iterator[Told]:
    if "kohya" in (view.get("output.formats") or []) and view.get("adapter.type") != "lora":
        yield Told("output.formats", "kohya's file holds a LoRA: add 'adapter: {type: lora}', or write [diffusers]")


RULES: list[Rule] = [
    an_adapter_freezes_the_model,
    an_adapter_is_trained,
    each_part_once,
    kohya_is_of_loras,
    kohya_is_without_dora,
]
