"""A latent diffusion model from random weights around a given VAE: Stable Diffusion's classes in any size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from runner.diffusion.samplers import saved_scheduler
from runner.models.family import DTYPES, Facts, Part
from runner.models.parts import fetch_parts, load_part
from runner.models.stable_diffusion import StableDiffusion
from runner.models.words import BOS, EOS, clip_tokenizer

if TYPE_CHECKING:
    from runner.progress import Progress

_BLOCKS = ("down_block_types", "up_block_types")
UNET_KEYS = ("block_out_channels", "layers_per_block", "attention_head_dim", "norm_num_groups", *_BLOCKS)
TEXT_KEYS = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
"""The keys of a `model` section that make the UNet and the text encoder."""


class LatentUNet(StableDiffusion):
    """A UNet2DConditionModel and a CLIPTextModel that learn together, a tokenizer made from captions, and a VAE.

    It is saved as a StableDiffusionPipeline, and is one from then on.
    """

    FROZEN: ClassVar[tuple[str, ...]] = ("vae",)

    @staticmethod
    def block_types(model: dict[str, Any]) -> dict[str, list[str]]:
        """The block types of a `model` section: text is read in all levels but the first where none is named."""
        down = model["down_block_types"]
        if down is None:
            levels = len(model["block_out_channels"])
            down = ["DownBlock2D"][: levels - 1] + ["CrossAttnDownBlock2D"] * max(levels - 1, 1)
        up = model["up_block_types"] or [block.replace("Down", "Up") for block in reversed(down)]
        return {"down_block_types": down, "up_block_types": up}

    @classmethod
    def from_recipe(
        cls, model: dict[str, Any], scheduler: dict[str, Any], resolution: int, vae: Part, vae_config: dict[str, Any]
    ) -> Facts:
        """The facts of a model that a settled `model` section describes; its `texts` are filled in before `build`.

        Args:
            model: the section, its block types filled.
            scheduler: the resolved noise schedule.
            resolution: width and height of the pictures, a multiple of the pixels that a latent stands for.
            vae, vae_config: the VAE's files and what its config.json holds.
        """
        facts = Facts(cls.family(), {"vae": vae_config}, parts={"vae": vae})
        channels = vae_config.get("latent_channels", 4)
        width = model["hidden_size"]
        unet = {key: model[key] for key in UNET_KEYS}
        unet |= {"sample_size": resolution // cls.vae_scale_factor(facts), "cross_attention_dim": width}
        unet |= {"in_channels": channels, "out_channels": channels}
        text = {key: model[key] for key in TEXT_KEYS} | {"intermediate_size": 4 * width, "projection_dim": width}
        text |= {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": EOS}
        # Latents are not clipped and timesteps are counted from 1, as StableDiffusionPipeline asks of its schedulers.
        noise = {key: value for key, value in scheduler.items() if key != "type"}
        noise |= {"_class_name": f"{scheduler['type']}Scheduler", "clip_sample": False, "steps_offset": 1}
        facts.configs.update({"unet": unet, "text_encoder": text, "tokenizer": {}, "scheduler": noise})
        return facts

    @classmethod
    def build(
        cls, facts: Facts, *, device: torch.device, seed: int, compute: dict[str, Any], progress: Progress
    ) -> Self:
        """See `Family.build`; `facts.texts` are the captions that the tokenizer is made from."""
        dtype, text = DTYPES[compute["dtype"]], facts.configs["text_encoder"]
        vae = load_part(facts.parts["vae"], fetch_parts(facts.parts, progress)["vae"], dtype=dtype)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            unet = UNet2DConditionModel.from_config(facts.configs["unet"])
            text_encoder = CLIPTextModel(CLIPTextConfig(**text))
        parts: dict[str, Any] = dict.fromkeys(cls.PARTS)
        parts |= {"unet": unet.eval().to(dtype), "text_encoder": text_encoder.eval().to(dtype), "vae": vae}
        parts["tokenizer"] = clip_tokenizer(facts.texts, text["vocab_size"], text["max_position_embeddings"])
        parts["scheduler"] = saved_scheduler(facts.configs["scheduler"])
        return cls(parts, facts, device=device, compute=compute, progress=progress)
