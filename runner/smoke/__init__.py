"""The rehearsal: any recipe with toy data, a toy model and tiny counts, by the same code."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from runner.language.recipe import Recipe
from runner.smoke.pretrained import toy_pretrained

_PICTURES, _STEPS, _BATCH, _DRAWN, _INFERENCE_STEPS = 24, 4, 2, 4, 4
_CHANNELS, _GROUPS, _HEAD = 16, 8, 8


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
    if small.get("model", {}).get("type") == "pretrained":
        toy_pretrained(recipe, small, scratch)
    elif "model" in small:
        small["model"] |= _toy_unet(small["model"])
    if "data" in small:
        levels = len(small.get("model", {}).get("block_out_channels", []))
        small["data"] = _builtin(small["data"], max(32, 2 ** (levels - 1)))
    if "training" in small:
        _few_steps(small["training"])
    if "sampling" in small and small["model"]["type"] != "pretrained":
        _few_pictures(small["sampling"], guided=small["model"]["num_class_embeds"] is not None)
    return small


def _builtin(data: dict[str, Any], resolution: int) -> dict[str, Any]:
    kept: dict[str, Any] = {key: data[key] for key in ("random_flip", "color_jitter") if key in data}
    return {"type": "builtin", "num_images": _PICTURES, "label_by": "kind", "resolution": resolution, **kept}


def _toy_unet(model: dict[str, Any]) -> dict[str, Any]:
    return {
        "block_out_channels": [_CHANNELS] * len(model["block_out_channels"]),
        "layers_per_block": 1,
        "norm_num_groups": _GROUPS,
        "attention_head_dim": _HEAD,
        "attn_norm_num_groups": None,
        "num_class_embeds": "auto" if model["num_class_embeds"] is not None else None,
    }


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
    }


def _few_pictures(sampling: dict[str, Any], guided: bool) -> None:
    steps = min(_INFERENCE_STEPS, sampling["num_inference_steps"])
    sampling |= {"num_images": _DRAWN, "batch_size": _DRAWN, "labels": None, "num_inference_steps": steps}
    if not guided:
        sampling["guidance_scale"] = 1.0
