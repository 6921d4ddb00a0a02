"""Flux: a transformer trained by flow matching on packed latents, with CLIP's summary and T5's words."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from diffusers import FluxImg2ImgPipeline, FluxInpaintPipeline, FluxPipeline
from torch import Tensor

from runner.models.described import FLOW, FROM_IMAGE, PROMPTED, T5_TOKENIZER, TOKENIZER
from runner.models.family import Facts, Request
from runner.models.flow import lost_shift
from runner.models.pipeline import PipelineFamily

_TEXTS = {"prompt_2", "negative_prompt_2", "max_sequence_length", "true_cfg_scale"}


class Flux(PipelineFamily):
    """FLUX.1: dev, whose `guidance_scale` is an input of the model, and schnell, which has none."""

    KEYS: ClassVar[frozenset[str]] = PROMPTED | FROM_IMAGE | _TEXTS
    GPU_DTYPE: ClassVar[str] = "bf16"
    PIPELINES: ClassVar[dict[str, Any]] = {
        "text2img": FluxPipeline,
        "img2img": FluxImg2ImgPipeline,
        "inpaint": FluxInpaintPipeline,
    }
    PARTS: ClassVar[dict[str, tuple[str, ...]]] = {
        "transformer": ("FluxTransformer2DModel",),
        "text_encoder": ("CLIPTextModel",),
        "text_encoder_2": ("T5EncoderModel",),
        "vae": ("AutoencoderKL",),
        "tokenizer": TOKENIZER,
        "tokenizer_2": T5_TOKENIZER,
        "scheduler": ("FlowMatchEulerDiscreteScheduler",),
    }
    SCHEDULERS: ClassVar[frozenset[str]] = FLOW
    GIVES_SHIFT: ClassVar[bool] = True
    SIDE: ClassVar[int] = 16  # two by two latents are packed into one

    @classmethod
    def sample_size(cls, facts: Facts) -> tuple[int, int]:
        """1024 × 1024 pixels, whatever the configuration says: the pipelines' own 128 latents."""
        side = 128 * cls.vae_scale_factor(facts)
        return side, side

    def notices(self, request: Request) -> list[str]:
        return [*super().notices(request), *lost_shift(self.facts, request.sampling)]

    def texts(self, request: Request) -> dict[str, Any]:
        """An empty negative prompt counts where true classifier-free guidance is asked for: it needs one."""
        texts = super().texts(request)
        if request.sampling["true_cfg_scale"] > 1:
            texts.setdefault("negative_prompt", [""] * len(request.prompts))
        return texts

    @classmethod
    def rehearse(cls, denoiser: Any, facts: Facts, sampling: dict[str, Any] | None) -> Tensor:
        """Guidance doubles nothing: it is an input, and true guidance is a call of its own."""
        return super().rehearse(denoiser, facts, {**(sampling or {}), "guidance_scale": 1.0})

    @classmethod
    def forward(cls, denoiser: Any, batch: int, height: int, width: int) -> Tensor:
        config, device = denoiser.config, denoiser.device
        packed = (height // 2) * (width // 2)
        return denoiser(
            torch.zeros(batch, packed, config["in_channels"], device=device),
            encoder_hidden_states=torch.zeros(batch, 512, config["joint_attention_dim"], device=device),
            pooled_projections=torch.zeros(batch, config["pooled_projection_dim"], device=device),
            timestep=torch.zeros(batch, device=device),
            guidance=torch.zeros(batch, device=device) if config["guidance_embeds"] else None,
            txt_ids=torch.zeros(512, 3, device=device),
            img_ids=torch.zeros(packed, 3, device=device),
        )[0]
