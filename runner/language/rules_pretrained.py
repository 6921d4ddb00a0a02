"""Rules of drawing with a pretrained model: sizes, guidance, seeds, img2img, inpainting, the refiner."""

from __future__ import annotations

from collections.abc import Iterator

from runner.language.drawn import step_counts, written_in
from runner.language.rules_model import nearest
from runner.language.view import Rule, Told, View, rule

_SIDES = 8  # pixels for each latent of the VAEs
_LARGEST = 16384


@rule("size")
def sides_are_multiples(view: View) -> Iterator[Told]:
    for key in ("height", "width"):
        for place in written_in(view, key):
            side = view.get(place)
            if isinstance(side, int) and side % _SIDES:
                near = nearest(side, _SIDES, _SIDES, _LARGEST)
                yield Told(place, f"{key} {side} is not a multiple of {_SIDES}; nearest {near}")


@rule("init-image")
def mask_needs_a_picture(view: View) -> Iterator[Told]:
    if view.get("sampling.mask_image") is not None and view.get("sampling.init_image") is None:
        yield Told("sampling.mask_image", "mask_image says where init_image is repainted: give init_image too")


@rule("init-image")
def strength_needs_a_picture(view: View) -> Iterator[Told]:
    for place in written_in(view, "strength")[:1]:
        if view.get("sampling.init_image") is None and view.get(place) not in ("auto", None):
            path = place.removesuffix(".0")
            yield Told(path, "strength says how much of init_image is noised over: give init_image too")


@rule("strength")
def strength_leaves_a_step(view: View) -> Iterator[Told]:
    """diffusers draws int(num_inference_steps * strength) steps of img2img and inpainting."""
    for place in written_in(view, "strength"):
        strength = view.get(place)
        for _, steps in step_counts(view):
            if isinstance(strength, int | float) and int(steps * strength) < 1:
                yield Told(
                    place,
                    f"strength {strength:g} of {steps} steps leaves none to draw: raise one of them",
                )


@rule("seeds")
def seeds_are_listed_or_counted(view: View) -> Iterator[Told]:
    if not view.get("sampling.seeds"):
        return
    for key in ("num_images", "seed"):
        if view.chosen(f"sampling.{key}"):
            yield Told(f"sampling.{key}", f"seeds takes the place of {key}: give one of them")
    if view.entries("sampling.matrix.seed"):
        yield Told("sampling.matrix.seed", "the matrix gives a seed, and so does seeds: give one of them")


@rule("refiner")
def refiner_ends_texts(view: View) -> Iterator[Told]:
    if view.has("sampling.refiner") and view.get("sampling.init_image") is not None:
        yield Told(
            "sampling.refiner",
            "a refiner takes over pictures that begin with noise: remove init_image or refiner; to refine a finished "
            "picture, draw with the refiner as the model",
        )


@rule("refiner")
def refiner_has_a_part(view: View) -> Iterator[Told]:
    part = view.get("sampling.refiner.high_noise_frac")
    if part in (0, 1):
        idle = "base model" if part == 0 else "refiner"
        yield Told(
            "sampling.refiner.high_noise_frac",
            f"high_noise_frac {part:g} leaves the {idle} no step: write one between 0 and 1, such as 0.8",
        )


@rule("unused-key")
def guidance_is_there_to_be_changed(view: View) -> Iterator[Told]:
    """diffusers' pipelines guide where guidance_scale is above 1."""
    scales = [view.get(place) for place in written_in(view, "guidance_scale")]
    if not scales or not all(isinstance(scale, int | float) and scale <= 1 for scale in scales):
        return
    if view.get("model.type") != "pretrained" or view.get("model.family") in ("flux", "pixel_unet"):
        return
    for key in ("negative_prompt", "guidance_rescale"):
        if view.chosen(f"sampling.{key}") and not _drawn_without_guidance(view):
            yield Told(
                f"sampling.{key}",
                f"{key} has no effect with guidance_scale: {max(scales):g}: it needs one above 1",
                "warning",
            )


def _drawn_without_guidance(view: View) -> bool:
    """Flux guides towards the negative prompt by another key."""
    return any((view.get(place) or 1) > 1 for place in written_in(view, "true_cfg_scale"))


@rule("unused-key")
def one_sampler(view: View) -> Iterator[Told]:
    """For a recipe that only samples, both sections name the sampler."""
    only_samples = view.get("model.type") == "pretrained" and not view.has("training")
    if only_samples and view.has("scheduler") and view.has("sampling.scheduler"):
        yield Told("scheduler", "sampling.scheduler names the sampler, and wins: remove this section", "warning")


RULES: list[Rule] = [
    sides_are_multiples,
    mask_needs_a_picture,
    strength_needs_a_picture,
    strength_leaves_a_step,
    seeds_are_listed_or_counted,
    refiner_ends_texts,
    refiner_has_a_part,
    guidance_is_there_to_be_changed,
    one_sampler,
]
