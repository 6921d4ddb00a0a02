"""What is laid over a model: embeddings (textual inversion) and LoRAs, loaded by diffusers, checked by us."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from diffusers.loaders import TextualInversionLoaderMixin
from torch import Tensor
from transformers import AddedToken

from runner.errors import ModelError
from runner.models.family import Extra, Facts
from runner.models.files import Files
from runner.models.lora import lay_lora
from runner.models.weights import check_finite, check_pickle, read_header, read_tensors
from runner.shown import shown

if TYPE_CHECKING:
    from runner.progress import Progress

_ENCODERS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
"""SDXL's embeddings name the text encoder that a table belongs to."""


def check_extra(files: Files, name: str, *, allow_pickle: bool) -> None:
    """Looks at an embedding's or LoRA's file before anything is downloaded or loaded.

    Raises:
        Refused: it is a pickle, and they are not allowed.
        ModelError: it is damaged.
        EnvironmentFault: the hub cannot be asked.
    """
    if name.endswith(".safetensors"):
        read_header(files, name)
    else:
        check_pickle(f"{files.title(name)} is a pickle", allow_pickle)


def lay_on(pipeline: Any, facts: Facts, progress: Progress) -> list[str]:
    """Lays a model's embeddings and LoRAs over the parts of its pipeline, in the recipe's order.

    Returns:
        The words that call the embeddings.

    Raises:
        ModelError: a file is damaged, or does not fit the model.
        EnvironmentFault: the hub, while downloading.
    """
    tokens = []
    for extra in facts.embeddings:
        path = extra.files.fetch([extra.name], progress) / extra.name
        tokens.append(_lay_embedding(pipeline, extra, read_tensors(extra.files, extra.name, path), facts.family))
    names = [f"lora_{i}" for i in range(len(facts.loras))]
    for name, extra in zip(names, facts.loras, strict=True):
        lay_lora(pipeline, extra, extra.files.fetch([extra.name], progress) / extra.name, name, facts.family)
    if names:
        pipeline.set_adapters(names, [extra.weight for extra in facts.loras])
    return tokens


def _lay_embedding(pipeline: Any, extra: Extra, held: Any, family: str) -> str:
    """Returns the word that calls the embedding."""
    title = extra.files.title(extra.name)
    if not isinstance(pipeline, TextualInversionLoaderMixin) or hasattr(pipeline, "transformer"):
        raise ModelError(f"{title}: a {family} model takes no embeddings, take it out of model.embeddings")
    found, named = _tables(held, title)
    token = extra.token or named or PurePosixPath(extra.name).name.rpartition(".")[0]
    encoders = [name for name in _ENCODERS.values() if getattr(pipeline, name, None) is not None]
    if found.keys() == {"text_encoder"} and len(encoders) == 1:
        found = {encoders[0]: found["text_encoder"]}
    surplus = sorted(found.keys() - set(encoders))
    if surplus:
        raise ModelError(
            f"{title} has vectors for {surplus[0]} too, which a {family} model has not: take one made for {family}"
        )
    for encoder in encoders:
        if encoder not in found:
            raise ModelError(f"{title} has no vectors for {encoder}: take one made for {family}")
        _lay_table(pipeline, encoder, token, found[encoder], title)
    return token


def _tables(held: Any, title: str) -> tuple[dict[str, Tensor], str | None]:
    """The vectors for each text encoder, and the token that the file names.

    The layouts: {clip_l, clip_g} (SDXL), {string_to_param: {'*'}, name} and {emb_params} (AUTOMATIC1111),
    {token: vectors} (diffusers), and vectors alone.
    """
    named = None
    if isinstance(held, Mapping) and "string_to_param" in held:
        named, held = held.get("name"), held["string_to_param"]
        held = {"emb_params": held.get("*") if isinstance(held, Mapping) else None}
    if isinstance(held, Tensor):
        held = {"emb_params": held}
    if isinstance(held, Mapping) and held and held.keys() <= _ENCODERS.keys():
        found = {_ENCODERS[key]: value for key, value in held.items()}
    elif isinstance(held, Mapping) and len(held) == 1:
        key, value = next(iter(held.items()))
        found, named = {"text_encoder": value}, named if key == "emb_params" else str(key)
    else:
        raise ModelError(f"{title} is no embedding: it should hold one table of vectors, or clip_l and clip_g")
    if not all(isinstance(value, Tensor) and value.ndim in (1, 2) for value in found.values()):
        raise ModelError(f"{title} is no embedding: its vectors are no table")
    check_finite(found.items(), title)
    return found, named if isinstance(named, str) and named else None


def _lay_table(pipeline: Any, encoder: str, token: str, table: Tensor, title: str) -> None:
    text_encoder, tokenizer = (
        getattr(pipeline, encoder),
        getattr(pipeline, encoder.replace("text_encoder", "tokenizer")),
    )
    width, wanted = table.shape[-1], text_encoder.get_input_embeddings().weight.shape[-1]
    if width != wanted:
        raise ModelError(f"{title} has vectors {width} wide and the model's {encoder} {wanted}: it fits another model")
    vocabulary = tokenizer.get_vocab()
    if token in vocabulary or f"{token}_1" in vocabulary:
        raise ModelError(f"{title}: the model knows the word {shown(token)!r} already; give its 'token:' another name")
    pipeline.load_textual_inversion({token: table}, token=token, text_encoder=text_encoder, tokenizer=tokenizer)
    _as_written(tokenizer, [name for name in tokenizer.get_vocab() if name not in vocabulary])


def _as_written(tokenizer: Any, names: list[str]) -> None:
    """Has the tokenizer find these tokens in the letters that they have.

    transformers 5 adds them in small letters, so diffusers no longer finds 'EasyNegative' among a prompt's tokens, and
    silently takes the first of its vectors alone.
    """
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in names])
