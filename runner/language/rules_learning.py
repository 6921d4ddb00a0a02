"""Rules of what learns: which models can, frozen parts, adapters, and the keys of training that go with them."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from runner.language.drawn import FLOW_FAMILIES, NOISE_FAMILIES, kind_of
from runner.language.rules_model import nearest
from runner.language.view import Rule, Told, View, rule
from runner.shown import shown

_NOT_YET = {*FLOW_FAMILIES, "sdxl_refiner"}
_SIDES = 8  # pixels for each latent of Stable Diffusion's VAEs
# The parts of a type of model that hold weights; those of a pretrained one are its family's.
_PARTS = {"pixel_unet": ["unet"], "latent_unet": ["unet", "text_encoder", "vae"], "autoencoder_kl": ["vae"]}
_LEARNERS = {
    "pixel_unet": ["unet"],
    "stable_diffusion": ["unet", "text_encoder"],
    "stable_diffusion_xl": ["unet", "text_encoder", "text_encoder_2"],
}
# Where a VAE learns, nothing is noised and nothing is read.
_OF_DENOISING = [
    *["snr_gamma", "noise_offset", "input_perturbation", "timestep_sampling", "label_dropout_rate"],
    *["text_encoder_learning_rate", "cache_latents", "cache_text_embeddings"],
]


@rule("not-trainable")
def some_families_only_draw(view: View) -> Iterator[Told]:
    family = view.get("model.family")
    if view.has("training") and family in _NOT_YET:
        yield Told(
            "model.family",
            f"{kind_of(family)} model can be sampled from but not trained yet: "
            "stable_diffusion and stable_diffusion_xl models can be",
        )


@rule("sampler")
def a_model_learns_noise_by_ddpm(view: View) -> Iterator[Told]:
    kind = view.get("scheduler.type")
    if view.get("model.type") == "pretrained" and view.has("training") and kind not in (None, "DDPM"):
        yield Told(
            "scheduler.type",
            f"a model that is trained has its noise schedule here, which is DDPM: write {kind} under "
            "sampling.scheduler to draw with it",
        )


@rule("autoencoder")
def a_vae_has_no_noise(view: View) -> Iterator[Told]:
    if view.get("model.type") != "autoencoder_kl":
        return
    if view.has("sampling"):
        yield Told(
            "sampling",
            "an autoencoder_kl draws nothing from noise: remove this section; training.sample_steps shows pictures "
            "beside what it makes of them",
        )
    if view.has("scheduler"):
        yield Told("scheduler", "an autoencoder_kl learns without noise, so it has no schedule: remove this section")


@rule("unused-key")
def keys_of_denoising(view: View) -> Iterator[Told]:
    kind = view.get("model.type")
    for key in _OF_DENOISING if kind == "autoencoder_kl" else []:
        if view.chosen(f"training.{key}"):
            yield Told(f"training.{key}", f"{key} has no effect: an autoencoder_kl learns without noise", "warning")
    if kind is not None and kind != "autoencoder_kl" and view.chosen("training.kl_weight"):
        yield Told(
            "training.kl_weight", f"kl_weight has no effect: it is of autoencoder_kl, and this is {kind}", "warning"
        )
    for key in ("cache_latents", "cache_text_embeddings") if kind == "pixel_unet" else ():
        if view.chosen(f"training.{key}"):
            yield Told(f"training.{key}", f"{key} has no effect: a pixel_unet has none", "warning")


@rule("resolution")
def latents_are_whole(view: View) -> Iterator[Told]:
    """A pretrained pixel_unet has a size of its own."""
    resolution = view.get("data.resolution")
    pixels = view.get("model.family") == "pixel_unet" or view.get("model.type") != "pretrained"
    if view.has("training") and not pixels and isinstance(resolution, int) and resolution % _SIDES:
        yield Told(
            "data.resolution",
            f"resolution {resolution} is not a multiple of {_SIDES}, the pixels that a latent stands for; "
            f"nearest {nearest(resolution, _SIDES, 8, 2048)}",
        )


@rule("freeze")
def freeze_names_parts(view: View) -> Iterator[Told]:
    """The parts of a pretrained model are seen in its files only."""
    patterns, kind = view.get("freeze") or [], view.get("model.type")
    parts = _PARTS.get(kind, [])
    known = f"its only part is '{parts[0]}'" if len(parts) == 1 else f"its parts are {', '.join(parts)}"
    for index, pattern in enumerate(patterns if parts else []):
        if not any(fnmatchcase(part, pattern.partition(".")[0]) for part in parts):
            yield Told(f"freeze.{index}", f"{kind_of(kind)} has no part '{shown(pattern, 60)}': {known}")
    learners = _learners(view)
    if patterns and view.has("training") and learners and all(_frozen(part, patterns) for part in learners):
        yield Told("freeze", "everything is frozen: nothing would learn")


def _learners(view: View) -> list[str]:
    """The parts that may learn; all there could be where only the model's files tell."""
    kind, family = view.get("model.type"), view.get("model.family")
    if kind == "pretrained":
        return _LEARNERS.get(family, _LEARNERS["stable_diffusion_xl"])
    return [part for part in _PARTS.get(kind, []) if part != "vae" or kind == "autoencoder_kl"]


def _frozen(part: str, patterns: list[str]) -> bool:
    """Whether all of a part is frozen, as far as its name tells."""
    return any(fnmatchcase(part, pattern) or pattern == f"{part}.*" for pattern in patterns)


@rule("freeze")
def the_vae_stays_frozen(view: View) -> Iterator[Told]:
    patterns, kind = view.get("freeze"), view.get("model.type")
    latent = kind == "latent_unet" or view.get("model.family") in NOISE_FAMILIES
    if kind == "pretrained" and view.get("model.family") == "auto":
        latent = bool(view.get("sampling.prompts")) or any(p.startswith("text_encoder") for p in patterns or [])
    if patterns is None or not latent or not view.has("training") or view.has("adapter"):
        return
    if not _frozen("vae", patterns) and not all(_frozen(part, patterns) for part in _learners(view)):
        yield Told(
            "freeze",
            "the VAE would learn, and a denoising loss teaches it nothing: write 'vae' into freeze; "
            "a VAE is trained by itself, with model.type: autoencoder_kl",
        )


@rule("freeze")
def freeze_goes_with_training(view: View) -> Iterator[Told]:
    patterns = view.get("freeze") or []
    if patterns and not view.has("training"):
        yield Told("freeze", "nothing is trained, so freeze has no effect", "warning")
    for index, pattern in enumerate(patterns):
        if pattern in patterns[:index]:
            yield Told(f"freeze.{index}", f"'{shown(pattern, 60)}' is named twice", "warning")


@rule("unused-key")
def a_text_encoder_learns(view: View) -> Iterator[Told]:
    kind = view.get("model.type")
    if not view.has("training.text_encoder_learning_rate") or kind not in ("pixel_unet", "pretrained", "latent_unet"):
        return
    path, adapter, patterns = "training.text_encoder_learning_rate", view.get("adapter.type"), view.get("freeze")
    if adapter == "textual_inversion":
        yield Told(path, "it has no effect with textual_inversion: the word learns by learning_rate", "warning")
        return
    if adapter == "lora":
        learns, mend = any(part != "unet" for part in view.get("adapter.parts")), "adapter.parts: [unet, text_encoder]"
    elif kind == "pixel_unet":
        learns, mend = False, "a model that reads text"
    else:
        told = patterns if patterns is not None else ["vae"] if kind == "latent_unet" else ["vae", "text_encoder*"]
        learns = any(not _frozen(part, told) for part in _learners(view) if part != "unet")
        mend = "freeze: [vae]"
    if not learns:
        yield Told(path, f"it has no effect: no text encoder learns; it goes with {mend}", "warning")


@rule("validation")
def validation_is_drawn(view: View) -> Iterator[Told]:
    path, kind = "training.validation_prompts", view.get("model.type")
    if not view.get(path):
        return
    if kind in ("pixel_unet", "autoencoder_kl") or view.get("model.family") == "pixel_unet":
        name = "pixel_unet" if kind == "pretrained" else kind
        yield Told(path, f"{kind_of(name)} reads no text: remove validation_prompts")
    elif view.get("training.sample_steps") is None:
        yield Told(path, "validation_prompts are drawn every sample_steps: add 'sample_steps: 500' to training")


@rule("unused-key")
def validation_has_pictures(view: View) -> Iterator[Told]:
    if view.chosen("training.validation_loss_steps") and view.get("training.validation_split") == 0:
        yield Told(
            "training.validation_loss_steps",
            "validation_loss_steps has no effect: no pictures are held out; it goes with validation_split: 0.1",
            "warning",
        )


RULES: list[Rule] = [
    some_families_only_draw,
    a_model_learns_noise_by_ddpm,
    a_vae_has_no_noise,
    keys_of_denoising,
    latents_are_whole,
    freeze_names_parts,
    the_vae_stays_frozen,
    freeze_goes_with_training,
    a_text_encoder_learns,
    validation_is_drawn,
    validation_has_pictures,
]
