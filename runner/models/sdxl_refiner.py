"""SDXL's refiner: ends the denoising that a base model began, or goes over a finished picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline

from runner.models.described import Layer
from runner.models.family import Facts, Misfit
from runner.models.stable_diffusion_xl import StableDiffusionXL


class SDXLRefiner(StableDiffusionXL):
    """The refiner: it has the second of SDXL's text encoders only."""

    KEYS: ClassVar[frozenset[str]] = StableDiffusionXL.KEYS - {"prompt_2", "negative_prompt_2", "refiner"}
    PIPELINES: ClassVar[dict[str, Any]] = {
        "img2img": StableDiffusionXLImg2ImgPipeline,
        "inpaint": StableDiffusionXLInpaintPipeline,
    }
    PARTS: ClassVar[dict[str, tuple[str, ...]]] = {
        name: classes for name, classes in StableDiffusionXL.PARTS.items() if name not in ("text_encoder", "tokenizer")
    }
    ENCODERS: ClassVar[dict[str, Layer]] = {"text_encoder_2": "sdxl-2"}
    DENOISER: ClassVar[str] = ""  # it cannot be trained yet
    NUMBERS: ClassVar[int] = 5  # original size, crop, and how beautiful the picture is to be

    @classmethod
    def problems(cls, facts: Facts, sampling: dict[str, Any]) -> Iterator[Misfit]:
        yield from super().problems(facts, sampling)
        if sampling.get("init_image") is None:
            message = "a refiner goes on from a picture: give init_image, or name it as the refiner of an SDXL model"
            yield Misfit("init_image", "refiner-alone", message)
