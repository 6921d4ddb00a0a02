"""SDXL: two CLIP text encoders, and a UNet that is told the picture's sizes and a summary of the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline, StableDiffusionXLPipeline
from torch import Tensor

from runner.data.batches import Batch
from runner.models.described import DISCRETE, TOKENIZER, Layer
from runner.models.stable_diffusion import StableDiffusion, unet_output


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
    ENCODERS: ClassVar[dict[str, Layer]] = {
        "text_encoder": "sdxl-1",
        "text_encoder_2": "sdxl-2",
    }
    OWN_SKIP: ClassVar[int] = 1
    TEXT_PARTS: ClassVar[tuple[str, ...]] = ("text_encoder", "text_encoder_2")
    UPCASTS: ClassVar[bool] = True
    FROZEN: ClassVar[tuple[str, ...]] = ("vae", "text_encoder", "text_encoder_2")
    NUMBERS: ClassVar[int] = 6
    """How many numbers the UNet is told: original size, crop and target size."""

    def embed(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The hidden states of both encoders but their last layer, side by side, and the second one's summary."""
        read = [self._read(name, texts, output_hidden_states=True) for name in self.TEXT_PARTS]
        return {
            "encoder_hidden_states": torch.cat([output.hidden_states[-2] for output in read], dim=-1),
            "text_embeds": read[-1].text_embeds,
        }

    def condition(self, batch: Batch) -> dict[str, Tensor]:
        """Beside the text, each picture's size before scaling, where its crop begins, and its size now."""
        texts = super().condition(batch)
        return {**texts, "time_ids": batch.sizes.to(texts["text_embeds"].dtype)}

    @classmethod
    def forward(cls, denoiser: Any, batch: int, height: int, width: int) -> Tensor:
        config, device = denoiser.config, denoiser.device
        pooled = config["projection_class_embeddings_input_dim"] - cls.NUMBERS * config["addition_time_embed_dim"]
        texts, numbers = (torch.zeros(batch, size, device=device) for size in (pooled, cls.NUMBERS))
        return unet_output(denoiser, batch, height, width, text_embeds=texts, time_ids=numbers)
