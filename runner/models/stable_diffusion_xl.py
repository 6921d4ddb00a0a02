"""SDXL: two CLIP text encoders, and a UNet that is told the picture's sizes and a summary of the text."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline, StableDiffusionXLPipeline
from torch import Tensor

from runner.models.family import Facts
from runner.models.pipeline import DISCRETE, TOKENIZER
from runner.models.stable_diffusion import StableDiffusion


class StableDiffusionXL(StableDiffusion):
    """SDXL's base model, or one that was made from it."""

    KEYS: ClassVar[frozenset[str]] = StableDiffusion.KEYS | {"prompt_2", "negative_prompt_2", "refiner"}
    PIPELINES: ClassVar[dict[str, Any]] = {
        "text2img": StableDiffusionXLPipeline,
        "img2img": StableDiffusionXLImg2ImgPipeline,
        "inpaint": StableDiffusionXLInpaintPipeline,
    }
    PARTS: ClassVar[dict[str, tuple[str, ...]]] = {
        "unet": ("UNet2DConditionModel",),
        "text_encoder": ("CLIPTextModel",),
        "text_encoder_2": ("CLIPTextModelWithProjection",),
        "vae": ("AutoencoderKL",),
        "tokenizer": TOKENIZER,
        "tokenizer_2": TOKENIZER,
        "scheduler": tuple(f"{name}Scheduler" for name in sorted(DISCRETE)),
    }
    OPTIONAL: ClassVar[frozenset[str]] = frozenset()
    OWN_SKIP: ClassVar[int] = 1

    @classmethod
    def added(cls, facts: Facts, batch: int, device: torch.device) -> dict[str, Tensor] | None:
        """The pooled text, and heights and widths (or, of a refiner, an aesthetic score)."""
        unet, pooled = facts.configs["unet"], facts.configs["text_encoder_2"].get("projection_dim", 512)
        numbers = (unet["projection_class_embeddings_input_dim"] - pooled) // unet["addition_time_embed_dim"]
        return {
            "text_embeds": torch.zeros(batch, pooled, device=device),
            "time_ids": torch.zeros(batch, numbers, device=device),
        }
