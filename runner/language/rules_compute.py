"""Rules of compute: which device and number format go with what the recipe does."""

from __future__ import annotations

from collections.abc import Iterator

from runner.language.view import Rule, Told, View, rule

# What only a pretrained model that draws reads.
_DRAWING = ["dtype", "offload", "attention_slicing", "vae_slicing", "vae_tiling"]
_NEVER_PRETRAINED = ("pixel_unet", "autoencoder_kl")
_NO_OFFLOAD = (None, "none", "auto")


@rule("device")
def eight_bit_needs_cuda(view: View) -> Iterator[Told]:
    device = view.get("compute.device")
    if view.get("training.optimizer.type") == "adamw_8bit" and device in ("cpu", "mps"):
        yield Told(
            "training.optimizer.type", f"adamw_8bit needs an NVIDIA GPU, and compute.device is {device}: use adamw"
        )


@rule("device")
def half_precision_needs_a_gpu(view: View) -> Iterator[Told]:
    fp16 = view.get("compute.device") == "cpu" and view.get("compute.mixed_precision") == "fp16"
    if fp16 and (view.has("training") or view.get("model.type") != "pretrained"):
        yield Told(
            "compute.mixed_precision", "fp16 does not train on a CPU (there is no loss scaling): use fp32, bf16 or auto"
        )


@rule("unused-key")
def mixed_precision_is_of_training(view: View) -> Iterator[Told]:
    """A settled recipe holds both formats, and is not told so."""
    drawn = view.get("model.type") == "pretrained" and not view.has("training")
    if drawn and view.chosen("compute.mixed_precision") and view.get("compute.dtype") == "auto":
        yield Told(
            "compute.mixed_precision",
            f"mixed_precision is of training, and nothing is trained: a model that draws takes "
            f"dtype: {view.get('compute.mixed_precision')}",
            "warning",
        )


@rule("unused-key")
def drawing_keys_are_of_pretrained_models(view: View) -> Iterator[Told]:
    kind = view.get("model.type")
    if kind not in _NEVER_PRETRAINED:
        return
    for key in _DRAWING:
        settled = key == "dtype" and view.get("compute.mixed_precision") != "auto"
        if view.chosen(f"compute.{key}") and view.get(f"compute.{key}") != "none" and not settled:
            mend = f"; a training takes mixed_precision: {view.get('compute.dtype')}" if key == "dtype" else ""
            yield Told(f"compute.{key}", f"{key} has no effect: it is of pretrained models that draw{mend}", "warning")


@rule("device")
def offload_is_of_drawing(view: View) -> Iterator[Told]:
    offload = view.get("compute.offload")
    if view.has("training") and view.get("model.type") in ("pretrained", "latent_unet") and offload not in _NO_OFFLOAD:
        yield Told(
            "compute.offload",
            f"offload: {offload} is of models that only draw: while one learns, its caches free the GPU's memory; "
            "write none or auto",
        )


@rule("unused-key")
def offload_leaves_a_gpu(view: View) -> Iterator[Told]:
    if view.get("model.type") in _NEVER_PRETRAINED:
        return  # it is told so already
    if view.get("compute.device") == "cpu" and view.get("compute.offload") in ("model", "sequential"):
        yield Told(
            "compute.offload", "offload has no effect with device: cpu: there is no GPU's memory to save", "warning"
        )


@rule("unused-key")
def one_kind_of_attention(view: View) -> Iterator[Told]:
    eager, upcast = (f"compute.{kind}_attention" for kind in ("eager", "upcast"))
    asked = [key for key in (eager, upcast) if view.get(key) is True]
    if view.get("compute.attention_slicing") is True and view.get("model.type") not in _NEVER_PRETRAINED:
        for key in asked:
            yield Told(
                key,
                f"{key.removeprefix('compute.')} has no effect with attention_slicing: true, which cuts every "
                "attention: write one of them",
                "warning",
            )
    elif len(asked) == 2:
        yield Told(
            upcast,
            "upcast_attention has no effect with eager_attention: true, which writes the same attentions out: write "
            "one of them",
            "warning",
        )


RULES: list[Rule] = [
    eight_bit_needs_cuda,
    half_precision_needs_a_gpu,
    mixed_precision_is_of_training,
    drawing_keys_are_of_pretrained_models,
    offload_is_of_drawing,
    offload_leaves_a_gpu,
    one_kind_of_attention,
]
