"""The rehearsal: any recipe with toy data, a toy model and tiny counts, by the same code."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from runner.language.recipe import Recipe
from runner.smoke.data import toy_data
from runner.smoke.pretrained import few_pictures, toy_pretrained, toy_vae

_STEPS, _BATCH, _DRAWN, _INFERENCE_STEPS = 4, 2, 4, 4
_CHANNELS, _GROUPS, _HEAD = 16, 8, 8
_RANK, _VECTORS = 4, 2


def rehearsal(recipe: Recipe, scratch: Path) -> dict[str, Any]:
    """A recipe's values made small enough for a plain CPU in about a minute, offline.

    Keeps every choice that decides which code runs: block types, schedule, prediction type, optimizer, EMA, sampler,
    augmentation. Replaces the data by the built-in flowers, the model by one of toy width with random weights, and
    counts by very small ones.

    Args:
        recipe: the recipe.
        scratch: a folder for the toys that stand in for a pretrained model and what is laid over it.
    """
    small = copy.deepcopy(recipe.values)
    small["name"] = f"{small['name'][:58]}-smoke"
    small["compute"] |= {"device": "cpu", "mixed_precision": "auto", "dtype": "auto", "offload": "auto"}
    small["compute"] |= {"processes": 1, "strategy": "ddp", "compile": False}
    kind = small.get("model", {}).get("type")
    if kind == "pretrained":
        toy_pretrained(recipe, small, scratch)
    elif kind is not None:
        small["model"] |= _TOYS[kind](small["model"], scratch)
    if "data" in small:
        small["data"] = toy_data(small["data"], _side(small), scratch)
    if "training" in small:
        _few_steps(small["training"])
    if "adapter" in small:
        _small_adapter(small["adapter"])
    if kind == "pixel_unet" and "sampling" in small:
        _few_pictures(small["sampling"], guided=small["model"]["num_class_embeds"] is not None)
    elif "sampling" in small:
        few_pictures(small["sampling"], scratch)
    return small


def _side(small: dict[str, Any]) -> int:
    """The side of toy pictures: as small as the model's levels allow, or what toys of latent models are made for."""
    model = small.get("model", {})
    if model.get("type") == "pretrained":
        return 32 if model["family"] == "pixel_unet" else 64
    levels = len(model.get("block_out_channels", []))
    return max(64 if model.get("type") == "latent_unet" else 32, 2 ** (levels - 1))


def _toy_pixel_unet(model: dict[str, Any], _scratch: Path) -> dict[str, Any]:
    return {
        "block_out_channels": [_CHANNELS] * len(model["block_out_channels"]),
        "layers_per_block": 1,
        "norm_num_groups": _GROUPS,
        "attention_head_dim": _HEAD,
        "attn_norm_num_groups": None,
        "num_class_embeds": "auto" if model["num_class_embeds"] is not None else None,
    }


def _toy_latent_unet(model: dict[str, Any], scratch: Path) -> dict[str, Any]:
    toy_vae(scratch / "vae")
    return {
        "vae": {**model["vae"], "id": str(scratch / "vae"), "revision": None, "subfolder": None, "variant": None},
        "block_out_channels": [_CHANNELS] * len(model["block_out_channels"]),
        "layers_per_block": 1,
        "norm_num_groups": _GROUPS,
        "attention_head_dim": _HEAD,
        "hidden_size": _CHANNELS,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }


def _toy_autoencoder_kl(model: dict[str, Any], _scratch: Path) -> dict[str, Any]:
    levels = len(model["block_out_channels"])
    return {"block_out_channels": [_CHANNELS] * levels, "layers_per_block": 1, "norm_num_groups": _GROUPS}


_TOYS = {"pixel_unet": _toy_pixel_unet, "latent_unet": _toy_latent_unet, "autoencoder_kl": _toy_autoencoder_kl}


def _small_adapter(adapter: dict[str, Any]) -> None:
    if adapter["type"] == "lora":
        adapter["rank"] = min(_RANK, adapter["rank"])
    else:
        adapter["num_vectors"] = min(_VECTORS, adapter["num_vectors"])


def _few_steps(training: dict[str, Any]) -> None:
    accumulation = min(2, training["gradient_accumulation_steps"])
    training |= {
        "max_train_steps": _STEPS,
        "num_train_epochs": None,
        "batch_size": _BATCH,
        "gradient_accumulation_steps": accumulation,
        "lr_warmup_steps": min(1, training["lr_warmup_steps"]),
        "logging_steps": 1,
        "checkpointing_steps": _STEPS // 2,
        "sample_steps": _STEPS // 2 if training["sample_steps"] is not None else None,
        "validation_loss_steps": _STEPS // 2,
        "sample_images": min(_DRAWN, training["sample_images"]),
    }


def _few_pictures(sampling: dict[str, Any], guided: bool) -> None:
    steps = min(_INFERENCE_STEPS, sampling["num_inference_steps"])
    sampling |= {"num_images": _DRAWN, "batch_size": _DRAWN, "labels": None, "num_inference_steps": steps}
    if not guided:
        sampling["guidance_scale"] = 1.0
