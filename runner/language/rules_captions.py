"""Rules of data: its captions and templates, several sources, sizes of pictures, the pictures of a prior."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.language.drawn import kind_of
from runner.language.rules_model import nearest
from runner.language.view import Rule, Told, View, rule
from runner.shown import shown

_BRACES = re.compile(r"\{[^{}]*\}|[{}]")
_KNOWN = {"{caption}", "{label}"}
_SIDES = 8  # pixels for each latent of Stable Diffusion's VAEs
_CAPTION_KEYS = [
    *["caption_column", "metadata_file", "instance_prompt", "caption_templates", "trigger", "shuffle_tags"],
    "caption_dropout_rate",
]


def _places(view: View) -> list[str]:
    """The sections that may say which captions there are."""
    return ["data", *view.entries("data.sources")]


def _wordless(view: View) -> str | None:
    """What the model is called, if it is known to read no text."""
    kind = view.get("model.type")
    if kind in ("pixel_unet", "autoencoder_kl"):
        return str(kind)
    return "pixel_unet" if view.get("model.family") == "pixel_unet" else None


@rule("unused-key")
def captions_need_a_text_model(view: View) -> Iterator[Told]:
    kind = _wordless(view)
    if kind is None or not view.has("training"):
        return
    for path in (f"{place}.{key}" for place in _places(view) for key in _CAPTION_KEYS):
        if view.chosen(path) and view.has(path):
            yield Told(path, f"nothing reads captions here: {kind_of(kind)} knows no text", "warning")


@rule("template")
def templates_hold_known_words(view: View) -> Iterator[Told]:
    for place in _places(view):
        for entry in view.entries(f"{place}.caption_templates"):
            for found in _BRACES.findall(view.get(entry)):
                if found in _KNOWN:
                    continue
                word = shown(found, 40)
                if len(found) == 1:
                    message = f"a single '{word}': {{caption}} and {{label}} are the places that are filled"
                elif found == "{token}":
                    message = "there is no place '{token}': write the new word itself"
                else:
                    message = f"there is no place '{word}': {{caption}} and {{label}} are filled"
                yield Told(entry, message)
                break


@rule("template")
def the_new_word_is_seen(view: View) -> Iterator[Told]:
    """Where the data has texts of its own, the word must stand in one, or it learns nothing."""
    token, texts = view.get("adapter.token"), _texts(view)
    if token is None or not texts or token in (view.get("data.trigger") or ""):
        return
    if not any(token in text or "{caption}" in text for _, text in texts):
        yield Told(
            texts[0][0],
            f"no text holds the new word {shown(token, 60)}, so it would learn nothing: write it into one, or leave "
            "the texts out",
        )


def _texts(view: View) -> list[tuple[str, str]]:
    """Each text that pictures are learned with, other than their captions, and the key it stands under."""
    found = []
    for place in _places(view):
        prompt = view.get(f"{place}.instance_prompt")
        found += [(f"{place}.instance_prompt", prompt)] if prompt else []
        found += [
            (f"{place}.caption_templates", view.get(entry)) for entry in view.entries(f"{place}.caption_templates")
        ]
    return found


@rule("template")
def one_text_or_templates(view: View) -> Iterator[Told]:
    for place in _places(view):
        if view.get(f"{place}.instance_prompt") and view.get(f"{place}.caption_templates"):
            yield Told(
                f"{place}.caption_templates",
                "instance_prompt takes the place of caption_templates: give one of them",
            )


@rule("prior")
def a_prior_has_a_subject(view: View) -> Iterator[Told]:
    kind = view.get("model.type")
    if not view.has("data.prior"):
        return
    if kind is not None and kind != "pretrained":
        yield Told(
            "data.prior",
            f"the prior's pictures are drawn by the model before it learns, and {kind_of(kind)} starts from random "
            "weights: remove this section",
        )
    elif view.get("model.family") == "pixel_unet":
        yield Told("data.prior", "a pixel_unet reads no text, so it cannot draw the prior's pictures")
    elif not view.has("training"):
        yield Told("data.prior", "nothing is trained, so prior has no effect", "warning")
    elif not _has_instance_prompt(view):
        yield Told(
            "data.prior",
            "a prior goes with a subject that has a word of its own: give data.instance_prompt, such as "
            "'a photo of sks dog'",
        )


def _has_instance_prompt(view: View) -> bool:
    sources = view.entries("data.sources")
    return bool(view.get("data.instance_prompt")) or (
        bool(sources) and all(view.get(f"{source}.instance_prompt") for source in sources)
    )


@rule("prior")
def a_prior_is_another_text(view: View) -> Iterator[Told]:
    prompt = view.get("data.prior.prompt")
    if prompt and prompt == view.get("data.instance_prompt"):
        yield Told(
            "data.prior.prompt", "this is instance_prompt: the prior names the kind without the subject's own word"
        )


@rule("buckets")
def buckets_fit(view: View) -> Iterator[Told]:
    if not view.has("data.aspect_ratio_buckets"):
        return
    path, kind = "data.aspect_ratio_buckets", view.get("model.type")
    if kind == "pixel_unet" or view.get("model.family") == "pixel_unet":
        yield Told(path, "a pixel_unet learns pictures of one size only: remove this section")
        return
    step, resolution = view.get(f"{path}.step"), view.get("data.resolution")
    if step % _SIDES and kind in ("pretrained", "latent_unet"):
        yield Told(
            f"{path}.step",
            f"step {step} is not a multiple of {_SIDES}, the pixels that a latent stands for; "
            f"nearest {nearest(step, _SIDES, _SIDES)}",
        )
    elif resolution % step:
        at = "data.resolution" if view.written("data.resolution") else f"{path}.step"
        yield Told(
            at,
            f"resolution {resolution} is not a multiple of the buckets' step {step}; "
            f"nearest {nearest(resolution, step, 8, 2048)}",
        )


@rule("unused-key")
def buckets_differ(view: View) -> Iterator[Told]:
    if view.has("data.aspect_ratio_buckets") and view.get("data.type") == "builtin":
        yield Told("data.aspect_ratio_buckets", "buckets have no effect: the built-in pictures are square", "warning")


@rule("unused-key")
def captions_are_missing(view: View) -> Iterator[Told]:
    """What a captioning model has to write."""
    if not view.has("data.caption"):
        return
    if view.get("data.type") == "builtin" and not view.get("data.caption.overwrite"):
        message = "the built-in pictures all have captions: caption has no effect without overwrite: true"
        yield Told("data.caption", message, "warning")
    elif view.has("training") and _has_instance_prompt(view):
        message = "nothing reads the captions that this writes: instance_prompt takes their place"
        yield Told("data.caption", message, "warning")


@rule("unused-key")
def variants_differ(view: View) -> Iterator[Told]:
    if not view.chosen("training.cache_variants"):
        return
    cached = view.get("training.cache_latents") or view.get("training.cache_text_embeddings")
    drawn_anew = view.get("data.center_crop") is False or view.has("data.color_jitter") or view.get("data.shuffle_tags")
    if _wordless(view) or not cached:
        yield Told("training.cache_variants", "cache_variants has no effect: nothing is cached", "warning")
    elif not drawn_anew:
        yield Told(
            "training.cache_variants",
            "cache_variants has no effect: pictures and captions are always the same; it goes with "
            "center_crop: false, color_jitter or shuffle_tags",
            "warning",
        )


RULES: list[Rule] = [
    captions_need_a_text_model,
    templates_hold_known_words,
    the_new_word_is_seen,
    one_text_or_templates,
    a_prior_has_a_subject,
    a_prior_is_another_text,
    buckets_fit,
    buckets_differ,
    captions_are_missing,
    variants_differ,
]
