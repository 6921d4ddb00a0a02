"""Textual inversion (Gal et al. 2022): the embeddings of a new word learn, by peft's trainable tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import TrainableTokensConfig, inject_adapter_in_model
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AddedToken

from runner.errors import ModelError
from runner.methods.groups import Group, groups, learning
from runner.models.trainable import Trainable
from runner.shown import shown

WEIGHTS = "learned_embeds.safetensors"
_TABLE = "token_embedding"  # CLIP's name of its embeddings
_SDXL = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
"""The names of the tables in a file for a model with two text encoders."""


def attach(family: Trainable, values: dict[str, Any]) -> list[Group]:
    """See `Method.attach`; the new rows are kept in fp32.

    Raises:
        ModelError: the model knows the word already.
    """
    adapter = values["adapter"]
    for part in family.parts.values():
        part.requires_grad_(False)
    for name in family.TEXT_PARTS:
        rows = _add_word(family, name, adapter)
        _let_learn(family.parts[name], rows)
        learned = _learned(family.parts[name])
        learned.data = learned.data.float()
    return groups(family, {**values["training"], "text_encoder_learning_rate": None})


def mark(parts: Mapping[str, nn.Module], values: dict[str, Any]) -> int:
    """See `Method.mark`; the first rows stand for the new ones."""
    for name, part in parts.items():
        part.requires_grad_(False)
        if name.startswith("text_encoder"):
            _let_learn(part, list(range(values["adapter"]["num_vectors"])))
    return learning(parts.values())


def save(family: Trainable, values: dict[str, Any], folder: Path) -> None:
    """See `Method.save`: the vectors alone, in the layout that diffusers writes and reads."""
    folder.mkdir(parents=True)
    tables = {name: _learned(family.parts[name]).detach().float().cpu().clone() for name in family.TEXT_PARTS}
    if len(tables) == 1:
        (table,) = tables.values()
        save_file({values["adapter"]["token"]: table}, folder / WEIGHTS)
    else:
        save_file({_SDXL[name]: table for name, table in tables.items()}, folder / WEIGHTS)


def words(token: str, vectors: int) -> list[str]:
    """The tokens of a word of several vectors, as diffusers' pipelines look for them."""
    return [token, *(f"{token}_{i}" for i in range(1, vectors))]


def check_words(tokenizer: Any, adapter: dict[str, Any]) -> list[str]:
    """The tokens of a settled `adapter` section's word.

    Raises:
        ModelError: the tokenizer knows one already.
    """
    known, new = tokenizer.get_vocab(), words(adapter["token"], adapter["num_vectors"])
    for word in new:
        if {word, f"{word}</w>"} & known.keys():
            raise ModelError(
                f"adapter.token: the model knows the word {shown(word)!r} already; choose another, such as "
                f"'<{shown(adapter['token']).strip('<>')}-2>'"
            )
    return new


def _add_word(family: Trainable, name: str, adapter: dict[str, Any]) -> list[int]:
    """Gives one text encoder the new word, whose vectors begin as those of the initial words; returns their rows."""
    encoder: Any = family.parts[name]
    tokenizer = family.tokenizer(name)
    new = check_words(tokenizer, adapter)
    begin = tokenizer(adapter["initializer_token"], add_special_tokens=False).input_ids
    table = encoder.get_input_embeddings().weight
    first = table[begin].clone() if begin else table.float().mean(0, keepdim=True).to(table.dtype)
    # A word in small letters only would not be found in prompts that write it otherwise.
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in new])
    rows: list[int] = tokenizer.convert_tokens_to_ids(new)
    encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    encoder.requires_grad_(False)
    with torch.no_grad():
        for i, row in enumerate(rows):
            encoder.get_input_embeddings().weight[row] = first[i % len(first)]
    return rows


def _let_learn(encoder: nn.Module, rows: list[int]) -> None:
    """These rows of a text encoder's embeddings learn, and nothing else of it."""
    inject_adapter_in_model(TrainableTokensConfig(token_indices=rows, target_modules=[_TABLE]), encoder)


def _learned(encoder: Any) -> Tensor:
    """The rows of a text encoder's embeddings that learn, (vectors, width)."""
    (found,) = (p for key, p in encoder.named_parameters() if "trainable_tokens_delta" in key)
    return found
