"""Stable Diffusion 1.x and 2.x, predicting noise or velocity: one CLIP text encoder and a UNet in latent space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline, StableDiffusionPipeline
from torch import Tensor

from runner.diffusion.denoise import Tick
from runner.models.described import DISCRETE, FROM_IMAGE, PROMPTED, TOKENIZER, Layer
from runner.models.family import Drawn, Facts, Misfit, Request
from runner.models.learning import LearningFamily

INPAINTING = 9
"""The input channels of a UNet made for inpainting: latents, the masked picture's latents, and the mask."""


class StableDiffusion(LearningFamily):
    """Stable Diffusion 1.x and 2.x."""

    KEYS: ClassVar[frozenset[str]] = PROMPTED | FROM_IMAGE | {"prompt_syntax", "guidance_rescale", "clip_skip", "eta"}
    PIPELINES: ClassVar[dict[str, Any]] = {
        "text2img": StableDiffusionPipeline,
        "img2img": StableDiffusionImg2ImgPipeline,
        "inpaint": StableDiffusionInpaintPipeline,
    }
    PARTS: ClassVar[dict[str, tuple[str, ...]]] = {
        "unet": ("UNet2DConditionModel",),
        "text_encoder": ("CLIPTextModel",),
        "vae": ("AutoencoderKL",),
        "tokenizer": TOKENIZER,
        "scheduler": tuple(f"{name}Scheduler" for name in sorted(DISCRETE)),
        "safety_checker": ("StableDiffusionSafetyChecker",),
        "feature_extractor": ("CLIPImageProcessor", "CLIPImageProcessorPil", "CLIPFeatureExtractor"),
    }
    OPTIONAL: ClassVar[frozenset[str]] = frozenset({"safety_checker", "feature_extractor"})
    ENCODERS: ClassVar[dict[str, Layer]] = {"text_encoder": "sd"}
    SCHEDULERS: ClassVar[frozenset[str]] = DISCRETE

    def draw(self, request: Request, generators: Sequence[torch.Generator], tick: Tick) -> Drawn:
        with _text_model(self.parts.get("text_encoder")):
            return super().draw(request, generators, tick)

    @classmethod
    def problems(cls, facts: Facts, sampling: dict[str, Any]) -> Iterator[Misfit]:
        yield from super().problems(facts, sampling)
        if facts.configs["unet"].get("in_channels", 4) == INPAINTING and cls.task(sampling) != "inpaint":
            message = "this model was made for inpainting: give init_image and mask_image"
            yield Misfit("init_image", "inpainting-model", message)

    @classmethod
    def forward(cls, denoiser: Any, batch: int, height: int, width: int) -> Tensor:
        return unet_output(denoiser, batch, height, width)


def unet_output(unet: Any, batch: int, height: int, width: int, **added: Tensor) -> Tensor:
    """The output of a text-conditioned UNet for zeros; `added` is what it is told beside the prompt."""
    config, device = unet.config, unet.device
    latents = torch.zeros(batch, config["in_channels"], height, width, device=device)
    text = torch.zeros(batch, 77, config["cross_attention_dim"], device=device)
    output: Tensor = unet(latents, torch.zeros(1, device=device), text, added_cond_kwargs=added).sample
    return output


@contextmanager
def _text_model(encoder: Any) -> Iterator[None]:
    """The text encoder under the name where the pipelines look for its last norm when layers are skipped.

    transformers 5 has no `text_model` in a CLIPTextModel any more. It stands there while drawing only: diffusers'
    LoRA loader tells the two layouts apart by it. A plain attribute is no second part of the module.
    """
    flat = encoder is not None and not hasattr(encoder, "text_model")
    if flat:
        vars(encoder)["text_model"] = encoder
    try:
        yield
    finally:
        if flat:
            del vars(encoder)["text_model"]
