"""Rules of models from random weights: what diffusers' classes can be built and run with."""

from __future__ import annotations

import math
from collections.abc import Iterator

from runner.language.view import Rule, Told, View, rule


def nearest(value: int, step: int, least: int = 1, most: int | None = None) -> str:
    """The multiples of `step` beside a value, in words: '64 or 96'."""
    below, above = value // step * step, (value // step + 1) * step
    near = [str(n) for n in (below, above) if n >= least and (most is None or n <= most)]
    return " or ".join(near)


@rule("resolution")
def resolution_halves(view: View) -> Iterator[Told]:
    """Each level below the first halves the picture."""
    channels, resolution = view.get("model.block_out_channels"), view.get("data.resolution")
    if not channels or not isinstance(resolution, int) or view.get("model.type") == "latent_unet":
        return  # a latent_unet halves latents, whose size its VAE decides
    halvings = len(channels) - 1
    step = 2**halvings
    if resolution % step:
        near = nearest(resolution, step, 8, 2048)
        yield Told(
            "data.resolution" if view.written("data.resolution") else "model.block_out_channels",
            f"data.resolution {resolution} is not a multiple of {step}: {len(channels)} levels halve it "
            f"{halvings} {'time' if halvings == 1 else 'times'}" + (f"; nearest {near}" if near else ""),
        )


@rule("levels")
def blocks_per_level(view: View) -> Iterator[Told]:
    channels = view.get("model.block_out_channels")
    for key in ("down_block_types", "up_block_types"):
        blocks = view.get(f"model.{key}")
        if channels and blocks and len(blocks) != len(channels):
            yield Told(
                f"model.{key}",
                f"{key} has {len(blocks)} blocks, block_out_channels {len(channels)} levels: give one block per level",
            )


@rule("channels")
def channels_make_groups(view: View) -> Iterator[Told]:
    groups, channels = view.get("model.norm_num_groups"), view.get("model.block_out_channels") or []
    wrong = [index for index, count in enumerate(channels) if count % groups]
    if len(wrong) > 1 and view.chosen("model.norm_num_groups"):
        common = math.gcd(*channels)
        best = max(n for n in range(1, groups + 1) if common % n == 0)
        yield Told("model.norm_num_groups", f"norm_num_groups {groups} does not divide {channels}: {best} does")
        return
    for index in wrong:
        yield Told(
            f"model.block_out_channels.{index}",
            f"{channels[index]} channels do not make {groups} equal groups (norm_num_groups); "
            f"nearest {nearest(channels[index], groups)}",
        )


@rule("channels")
def channels_make_heads(view: View) -> Iterator[Told]:
    """Where attention sits, the channels are cut into heads of attention_head_dim."""
    head, channels = view.get("model.attention_head_dim"), view.get("model.block_out_channels")
    if head is None or not channels or view.get("model.type") != "pixel_unet":
        return
    for index in _attention_levels(view, len(channels)):
        if channels[index] % head:
            yield Told(
                f"model.block_out_channels.{index}",
                f"{channels[index]} channels do not make heads of {head} (attention_head_dim), where attention sits; "
                f"nearest {nearest(channels[index], head)}",
            )


def _attention_levels(view: View, levels: int) -> list[int]:
    down, up = view.get("model.down_block_types"), view.get("model.up_block_types")
    if (down and len(down) != levels) or (up and len(up) != levels):
        return []
    found = {levels - 1} if view.get("model.add_attention") or not down else set()
    found |= {i for i, block in enumerate(down or []) if block.startswith("Attn")}
    found |= {levels - 1 - i for i, block in enumerate(up or []) if block.startswith("Attn")}
    return sorted(found)


@rule("channels")
def middle_attention_groups(view: View) -> Iterator[Told]:
    groups, channels = view.get("model.attn_norm_num_groups"), view.get("model.block_out_channels")
    if groups and channels and view.get("model.add_attention") and channels[-1] % groups:
        yield Told(
            "model.attn_norm_num_groups",
            f"attn_norm_num_groups {groups} does not divide the last level's {channels[-1]} channels",
        )


@rule("channels")
def channels_are_shared_among_heads(view: View) -> Iterator[Told]:
    """In a latent_unet, attention_head_dim is a number of heads, as in diffusers' UNet2DConditionModel."""
    if view.get("model.type") != "latent_unet":
        return
    heads, channels = view.get("model.attention_head_dim"), view.get("model.block_out_channels")
    down = view.get("model.down_block_types")
    for index, count in enumerate(channels):
        reads = (index > 0 or len(channels) == 1) if not down else down[index : index + 1] == ["CrossAttnDownBlock2D"]
        if count % heads and (reads or index == len(channels) - 1):
            yield Told(
                f"model.block_out_channels.{index}",
                f"{count} channels are not shared evenly among {heads} heads (attention_head_dim), where text is read; "
                f"nearest {nearest(count, heads)}",
            )
    width, heads = view.get("model.hidden_size"), view.get("model.num_attention_heads")
    if width % heads:
        yield Told(
            "model.hidden_size" if view.written("model.hidden_size") else "model.num_attention_heads",
            f"hidden_size {width} is not shared evenly among {heads} heads (num_attention_heads); "
            f"nearest {nearest(width, heads)}",
        )


RULES: list[Rule] = [
    resolution_halves,
    blocks_per_level,
    channels_make_groups,
    channels_make_heads,
    middle_attention_groups,
    channels_are_shared_among_heads,
]
