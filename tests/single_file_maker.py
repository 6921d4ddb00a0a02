"""Checkpoints in the original key layout of Stable Diffusion, made from diffusers folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

_RESNET = {
    **{"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3"},
    **{"time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"},
}
_UNET_ENDS = {
    **{"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"},
    **{"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"},
    **{"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"},
}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_THREE = {"x_block": ("to_q", "to_k", "to_v"), "context_block": ("add_q_proj", "add_k_proj", "add_v_proj")}
_CLIP = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
_CLIP |= {"self_attn.out_proj": "attn.out_proj"}
_SD3 = {
    **{"pos_embed.pos_embed": "pos_embed", "pos_embed.proj": "x_embedder.proj", "context_embedder": "context_embedder"},
    **{"time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0"},
    **{"time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2"},
    **{"time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0"},
    **{"time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2"},
    **{"proj_out": "final_layer.linear", "norm_out.linear": "final_layer.adaLN_modulation.1"},
}
_SD3_BLOCK = {
    **{"attn.to_out.0": "x_block.attn.proj", "attn.to_add_out": "context_block.attn.proj"},
    **{"norm1.linear": "x_block.adaLN_modulation.1", "norm1_context.linear": "context_block.adaLN_modulation.1"},
    **{"ff.net.0.proj": "x_block.mlp.fc1", "ff.net.2": "x_block.mlp.fc2"},
    **{"ff_context.net.0.proj": "context_block.mlp.fc1", "ff_context.net.2": "context_block.mlp.fc2"},
}


def write_checkpoint(folder: Path, path: Path) -> None:
    """The diffusers folder of an SD 1.x, SDXL or SD3 pipeline as one file in the layout of its first publication.

    That of SD3 holds no text encoders, as the smallest of the published ones.
    """
    save_file(checkpoint(folder), path)


def checkpoint(folder: Path) -> dict[str, Tensor]:
    """The tensors of that file."""
    pipe = DiffusionPipeline.from_pretrained(folder, dtype=None)
    denoiser = _sd3(pipe.transformer) if hasattr(pipe, "transformer") else _unet(pipe.unet)
    tensors = {f"model.diffusion_model.{key}": value for key, value in denoiser}
    tensors |= {f"first_stage_model.{key}": value for key, value in _vae(pipe.vae)}
    if hasattr(pipe, "transformer"):
        return {key: value.contiguous().clone() for key, value in tensors.items()}
    second = getattr(pipe, "text_encoder_2", None)
    if second is None:
        tensors |= {f"cond_stage_model.transformer.{key}": value for key, value in _text(pipe.text_encoder)}
    else:
        number = 0
        if pipe.text_encoder is not None:
            number = 1
            tensors |= {f"conditioner.embedders.0.transformer.{key}": value for key, value in _text(pipe.text_encoder)}
        tensors |= {f"conditioner.embedders.{number}.model.{key}": value for key, value in _open_clip(second)}
    return {key: value.contiguous().clone() for key, value in tensors.items()}


def _unet(unet: UNet2DConditionModel) -> Iterator[tuple[str, Tensor]]:
    count, step = len(unet.config["block_out_channels"]), unet.config["layers_per_block"] + 1
    places = dict(_UNET_ENDS) | {"mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1"}
    places["mid_block.resnets.1"] = "middle_block.2"
    for i in range(count):
        for j in range(step):
            places[f"down_blocks.{i}.resnets.{j}"] = f"input_blocks.{step * i + j + 1}.0"
            places[f"down_blocks.{i}.attentions.{j}"] = f"input_blocks.{step * i + j + 1}.1"
            places[f"up_blocks.{i}.resnets.{j}"] = f"output_blocks.{step * i + j}.0"
            places[f"up_blocks.{i}.attentions.{j}"] = f"output_blocks.{step * i + j}.1"
        places[f"down_blocks.{i}.downsamplers.0.conv"] = f"input_blocks.{step * (i + 1)}.0.op"
        after = 2 if hasattr(unet.up_blocks[i], "attentions") else 1
        places[f"up_blocks.{i}.upsamplers.0"] = f"output_blocks.{step * (i + 1) - 1}.{after}"
    for key, value in unet.state_dict().items():
        place = next(place for place in places if key.startswith(f"{place}."))
        rest = key.removeprefix(place)
        if ".resnets." in place:
            rest = _renamed(rest, _RESNET)
        yield places[place] + rest, value


def _sd3(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """An SD3Transformer2DModel without normed queries: q, k and v in one tensor, two scales and shifts swapped."""
    tensors = model.state_dict()
    last = model.config["num_layers"] - 1
    swapped = ("norm_out.linear", f"transformer_blocks.{last}.norm1_context.linear")
    for key, value in tensors.items():
        value = torch.cat(value.chunk(2)[::-1]) if key.startswith(swapped) else value
        place = next((place for place in _SD3 if key == place or key.startswith(f"{place}.")), None)
        if place is not None:
            yield _SD3[place] + key.removeprefix(place), value
            continue
        _, number, rest = key.split(".", 2)
        place = next((place for place in _SD3_BLOCK if rest.startswith(f"{place}.")), None)
        if place is not None:
            yield f"joint_blocks.{number}.{_SD3_BLOCK[place]}{rest.removeprefix(place)}", value
    for i in range(last + 1):
        for block, names in _THREE.items():
            for kind in ("weight", "bias"):
                three = [tensors[f"transformer_blocks.{i}.attn.{name}.{kind}"] for name in names]
                yield f"joint_blocks.{i}.{block}.attn.qkv.{kind}", torch.cat(three)


def _vae(vae: AutoencoderKL) -> Iterator[tuple[str, Tensor]]:
    last = len(vae.config["block_out_channels"]) - 1
    for key, value in vae.state_dict().items():
        name = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        name = name.replace("samplers.0.conv", "sample.conv").replace("mid_block.attentions.0", "mid.attn_1")
        for i in range(last + 1):
            name = name.replace(f"down_blocks.{i}.resnets", f"down.{i}.block").replace(
                f"down_blocks.{i}.", f"down.{i}."
            )
            name = name.replace(f"up_blocks.{i}.resnets", f"up.{last - i}.block")
            name = name.replace(f"up_blocks.{i}.", f"up.{last - i}.")
        for i in (0, 1):
            name = name.replace(f"mid_block.resnets.{i}", f"mid.block_{i + 1}")
        if "attn_1" in name:
            name = _renamed(name, _ATTENTION)
            value = value[:, :, None, None] if value.ndim == 2 else value
        yield name, value


def _text(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """A CLIPTextModel in the layout of transformers 4, with the buffer that it used to save."""
    for key, value in model.state_dict().items():
        yield f"text_model.{key.removeprefix('text_model.')}", value
    yield "text_model.embeddings.position_ids", torch.arange(77)[None]


def _open_clip(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """A CLIPTextModelWithProjection in open_clip's layout: q, k and v in one tensor, the projection transposed."""
    tensors = {key.removeprefix("text_model."): value for key, value in model.state_dict().items()}
    yield "text_projection", tensors["text_projection.weight"].T
    yield "positional_embedding", tensors["embeddings.position_embedding.weight"]
    yield "token_embedding.weight", tensors["embeddings.token_embedding.weight"]
    yield "logit_scale", torch.tensor(4.6)
    for kind in ("weight", "bias"):
        yield f"ln_final.{kind}", tensors[f"final_layer_norm.{kind}"]
        for i in range(model.config.num_hidden_layers):
            layer, block = f"encoder.layers.{i}", f"transformer.resblocks.{i}"
            three = [tensors[f"{layer}.self_attn.{name}_proj.{kind}"] for name in "qkv"]
            yield f"{block}.attn.in_proj_{kind}", torch.cat(three)
            for ours, theirs in _CLIP.items():
                yield f"{block}.{theirs}.{kind}", tensors[f"{layer}.{ours}.{kind}"]


def _renamed(name: str, names: dict[str, str]) -> str:
    for ours, theirs in names.items():
        name = name.replace(f".{ours}.", f".{theirs}.")
    return name
