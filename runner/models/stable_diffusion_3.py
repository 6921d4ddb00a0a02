"""Stable Diffusion 3.x: a transformer trained by flow matching, with two CLIP text encoders and, if kept, T5."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusion3Img2ImgPipeline, StableDiffusion3InpaintPipeline, StableDiffusion3Pipeline
from torch import Tensor

from runner.models.described import FLOW, FROM_IMAGE, PROMPTED, T5_TOKENIZER, TOKENIZER
from runner.models.family import Facts, Misfit, Request
from runner.models.flow import lost_shift
from runner.models.pipeline import PipelineFamily

_TEXTS = {"prompt_2", "prompt_3", "negative_prompt_2", "negative_prompt_3", "max_sequence_length", "clip_skip"}


class StableDiffusion3(PipelineFamily):
    """Stable Diffusion 3 and 3.5."""

    KEYS: ClassVar[frozenset[str]] = PROMPTED | FROM_IMAGE | _TEXTS
    PIPELINES: ClassVar[dict[str, Any]] = {
        "text2img": StableDiffusion3Pipeline,
        "img2img": StableDiffusion3Img2ImgPipeline,
        "inpaint": StableDiffusion3InpaintPipeline,
    }
    PARTS: ClassVar[dict[str, tuple[str, ...]]] = {
        "transformer": ("SD3Transformer2DModel",),
        "text_encoder": ("CLIPTextModelWithProjection",),
        "text_encoder_2": ("CLIPTextModelWithProjection",),
        "text_encoder_3": ("T5EncoderModel",),
        "vae": ("AutoencoderKL",),
        "tokenizer": TOKENIZER,
        "tokenizer_2": TOKENIZER,
        "tokenizer_3": T5_TOKENIZER,
        "scheduler": ("FlowMatchEulerDiscreteScheduler",),
    }
    OPTIONAL: ClassVar[frozenset[str]] = frozenset({"text_encoder_3", "tokenizer_3"})
    SCHEDULERS: ClassVar[frozenset[str]] = FLOW
    SIDE: ClassVar[int] = 16  # the transformer takes patches of two by two latents
    OWN_SKIP: ClassVar[int] = 1

    @classmethod
    def sample_size(cls, facts: Facts) -> tuple[int, int]:
        side = facts.configs["transformer"].get("sample_size", 128) * cls.vae_scale_factor(facts)
        return side, side

    @classmethod
    def problems(cls, facts: Facts, sampling: dict[str, Any]) -> Iterator[Misfit]:
        yield from super().problems(facts, sampling)
        for key in ("prompt_3", "negative_prompt_3"):
            if "text_encoder_3" not in facts.configs and sampling.get(key):
                yield Misfit(key, "no-third-encoder", "this model comes without its third text encoder: take it out")

    def notices(self, request: Request) -> list[str]:
        return [*super().notices(request), *lost_shift(self.facts, request.sampling)]

    def pictures(self, request: Request) -> dict[str, Any]:
        """The img2img pipeline encodes a picture for each generator, and repeats none by itself."""
        given = super().pictures(request)
        if self.task(request.sampling) == "img2img":
            given["image"] = [given["image"]] * (len(request.prompts) * request.copies)
        return given

    @classmethod
    def forward(cls, denoiser: Any, batch: int, height: int, width: int) -> Tensor:
        config, device = denoiser.config, denoiser.device
        return denoiser(
            torch.zeros(batch, config["in_channels"], height, width, device=device),
            encoder_hidden_states=torch.zeros(batch, 77 + 256, config["joint_attention_dim"], device=device),
            pooled_projections=torch.zeros(batch, config["pooled_projection_dim"], device=device),
            timestep=torch.zeros(batch, device=device),
        )[0]
