"""Models with the layers of real ones and random weights.

diffusers is imported when one is made: `pairs.settle_vision` comes first.
"""

_NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
_CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
SD_UNET = {"sample_size": 64, "cross_attention_dim": 768}
"""Stable Diffusion 1.5's, where it is not UNet2DConditionModel's default."""

SDXL_UNET = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}

_SMALL_VAE = {"block_out_channels": (32, 32, 32, 32)}
SMALL = {
    "sd": {"unet": {"block_out_channels": (32, 64, 64, 64), "attention_head_dim": 4}, "vae": _SMALL_VAE},
    "sdxl": {
        "unet": {"block_out_channels": (32, 64, 64), "attention_head_dim": (2, 4, 4)},
        "vae": _SMALL_VAE,
        "texts": ({"num_hidden_layers": 2}, {"num_hidden_layers": 2}),
    },
}
"""What makes them small, to try a command."""


def stable_diffusion(folder, *, unet=None, vae=None, text=None):
    """Stable Diffusion 1.5 with a small tokenizer.

    Args:
        unet, vae, text: what the configurations of the parts have otherwise.
    """
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from runner.models import toy_parts

    StableDiffusionPipeline(
        unet=UNet2DConditionModel(**SD_UNET | (unet or {})),
        vae=AutoencoderKL(**_VAE | {"sample_size": 512} | (vae or {})),
        text_encoder=CLIPTextModel(CLIPTextConfig(**_CLIP_L | (text or {}))),
        tokenizer=toy_parts.clip_tokenizer(),
        scheduler=PNDMScheduler(skip_prk_steps=True, **_NOISE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def stable_diffusion_xl(folder, *, unet=None, vae=None, texts=({}, {})):
    """SDXL in half precision, with a small tokenizer.

    Args:
        unet, vae, texts: what the configurations of the parts have otherwise.
    """
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from runner.models import toy_parts

    tokenizer = toy_parts.clip_tokenizer()
    second = CLIPTextConfig(hidden_act="gelu", projection_dim=1280, **_CLIP_G | texts[1])
    StableDiffusionXLPipeline(
        unet=UNet2DConditionModel(**SDXL_UNET | (unet or {})).half(),
        vae=AutoencoderKL(**_VAE | {"sample_size": 1024, "scaling_factor": 0.13025} | (vae or {})).half(),
        text_encoder=CLIPTextModel(CLIPTextConfig(**_CLIP_L | texts[0])).half(),
        text_encoder_2=CLIPTextModelWithProjection(second).half(),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=EulerDiscreteScheduler(timestep_spacing="leading", **_NOISE),
    ).save_pretrained(folder)


def flops(name, config, *given, **told):
    """Operations of one forward pass of a diffusers model at timestep 0, without attention's products of queries,
    keys and values, as published figures leave them out; the arguments are on torch's meta device.
    """
    import diffusers
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        getattr(diffusers, name)(**config)(*given, torch.zeros(1), **told)
    counts = counter.get_flop_counts()["Global"]
    return sum(count for operation, count in counts.items() if operation is not torch.ops.aten.bmm)
