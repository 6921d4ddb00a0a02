"""Prompts in the syntax of web UIs as embeddings for diffusers' pipelines: weights, any length, BREAK.

The syntax is `runner.prompts.syntax`; what a weight w does to an embedding is compel's
(https://github.com/damian0815/compel, embeddings_provider.py). With z the encoding of the prompt and z0 that of '':

    any w    each token's z becomes z0 + w (z - z0)
    w < 1    then the whole embedding is blended with that of the prompt whose other words cannot see this fragment,
             in the proportion 1 : tan((1 - w) pi / 2); at 0 nothing of the fragment is left

Web UIs multiply z by w and rescale it to its old mean, so the same numbers pull in the same direction and less or more
far. Text over 75 tokens goes on in further chunks of 77, cut after a phrase (, . : ;) where there is one, else after a
word; BREAK begins a chunk too. Each chunk is encoded on its own and all are joined along the tokens.

Without weights and within 75 tokens the embeddings are, to the byte, those of the pipelines' own `encode_prompt`: the
layers are chosen here as there, and all prompts are encoded in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import torch
from compel.embeddings_provider import DownweightMode, EmbeddingsProvider, SplitLongTextMode
from diffusers.loaders import TextualInversionLoaderMixin
from torch import Tensor

from runner.prompts.syntax import Fragment, parse


@dataclass(frozen=True)
class Encoder:
    """A CLIP text encoder with its tokenizer.

    Attributes:
        kind: how its pipeline chooses the layer. sd: the last hidden state, normalised. sdxl-1, sdxl-2: the last but
            one, not normalised.
    """

    tokenizer: Any
    text_encoder: Any
    kind: Literal["sd", "sdxl-1", "sdxl-2"]


@dataclass(frozen=True)
class Embedded:
    """What a pipeline's call takes instead of texts, under the names of its arguments.

    Attributes:
        prompt_embeds, negative_prompt_embeds: (prompts, 77 n, width), n chunks; the pipeline makes the copies. The
            negative is None where no negatives were given.
        pooled_prompt_embeds, negative_pooled_prompt_embeds: (prompts, width), of each first chunk, unweighted; None
            where no encoder has a projection.
    """

    prompt_embeds: Tensor
    negative_prompt_embeds: Tensor | None
    pooled_prompt_embeds: Tensor | None
    negative_pooled_prompt_embeds: Tensor | None


@torch.no_grad()
def encode(
    encoders: Sequence[Encoder],
    prompts: Sequence[str],
    negatives: Sequence[str] | None,
    *,
    device: torch.device,
    clip_skip: int | None = None,
    prompts_2: Sequence[str] | None = None,
    negatives_2: Sequence[str] | None = None,
    force_zeros: bool = False,
) -> Embedded:
    """Encodes prompts and, for guidance, a negative prompt for each.

    Args:
        encoders: in the pipeline's order; their embeddings are joined along the width.
        prompts_2, negatives_2: what the second encoder reads, if not the same.
        device: where the pipeline runs (its `_execution_device`), which with offloading is not where the weights are.
        clip_skip: the last layers left out, as diffusers counts; as there, of prompts and not of negatives.
        force_zeros: the model's `force_zeros_for_empty_prompt`: an empty negative prompt is all zeros.

    Raises:
        ValueError: a prompt holds what `syntax.problem` tells.
    """
    texts = (prompts, *([prompts_2 or prompts] * (len(encoders) - 1)))
    positive = [_Reader(*pair, clip_skip, device) for pair in zip(encoders, texts, strict=True)]
    texts = (negatives or (), *([negatives_2 or negatives or ()] * (len(encoders) - 1)))
    negative = [_Reader(*pair, None, device) for pair in zip(encoders, texts, strict=True)] if negatives else []
    length = max(reader.length for reader in (*positive, *negative))
    prompt_embeds, pooled = _joined(positive, length)
    if not negatives:
        return Embedded(prompt_embeds, None, pooled, None)
    negative_embeds, negative_pooled = _joined(negative, length)
    if force_zeros:
        for i, texts in enumerate(zip(negatives, negatives_2 or negatives, strict=True)):
            if not any(texts):
                negative_embeds[i] = 0
                if negative_pooled is not None:
                    negative_pooled[i] = 0
    return Embedded(prompt_embeds, negative_embeds, pooled, negative_pooled)


def _joined(readers: Sequence[_Reader], length: int) -> tuple[Tensor, Tensor | None]:
    """All texts' embeddings, all encoders' joined along the width, and the pooled ones."""
    embeds = torch.cat([reader.embeds(length) for reader in readers], dim=-1)
    pooled = next((reader.pooled for reader in readers if reader.pooled is not None), None)
    return embeds.to(readers[-1].layer.dtype), pooled


class _Reader:
    """Some texts, read by one encoder.

    Attributes:
        length: tokens of the longest, a multiple of the encoder's 77.
        pooled: (texts, width), or None.
    """

    def __init__(self, encoder: Encoder, texts: Sequence[str], clip_skip: int | None, device: torch.device) -> None:
        self.layer = _Layer(encoder, clip_skip, device)
        tokenizer = _Tokenizer(encoder.tokenizer)
        self._compel = EmbeddingsProvider(
            tokenizer=tokenizer,
            text_encoder=self.layer,
            truncate=False,
            downweight_mode=DownweightMode.MASK,
            split_long_text_mode=SplitLongTextMode.PHRASES,
            device=device,
        )
        prompts = [[_worded(part, tokenizer) for part in parse(text)] for text in texts]
        self.pooled = self.layer.read_together(torch.stack([self._first_chunk(parts[0]) for parts in prompts]))
        self._embeds = [
            self._compel.get_embeddings_for_weighted_prompt_fragments(*zip(*parts, strict=True), device=device)
            for parts in prompts
        ]
        self.length = max(embeds.shape[1] for embeds in self._embeds)

    def _first_chunk(self, part: _Part) -> Tensor:
        ids, _weights, _mask = self._compel.get_token_ids_and_expand_weights(*part, device=self.layer.device)
        return ids[: self._compel.max_token_count]

    def embeds(self, length: int) -> Tensor:
        """(texts, length, width): short ones go on with chunks of nothing."""
        return torch.cat([torch.cat([found, *self._nothing(length - found.shape[1])], dim=1) for found in self._embeds])

    def _nothing(self, length: int) -> list[Tensor]:
        return [self._compel.empty_z.to(self.layer.dtype)] * (length // self._compel.max_token_count)


_Part = tuple[list[str], list[float]]


def _worded(fragments: Sequence[Fragment], tokenizer: _Tokenizer) -> _Part:
    """Texts and weights of the fragments that have tokens (compel cannot weaken a space); of none, the empty text."""
    worded = [one for one in fragments if tokenizer([one.text], add_special_tokens=False)["input_ids"][0]]
    return [one.text for one in worded] or [""], [one.weight for one in worded] or [1.0]


class _Tokenizer:
    """A tokenizer as compel calls it: a textual inversion of several vectors is all of them, as in the pipelines.

    compel's own manager of textual inversions encodes every encoder's text by the pipeline's first tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, texts: list[str], **options: Any) -> Any:
        whole = TextualInversionLoaderMixin().maybe_convert_prompt(texts, self._tokenizer)
        return self._tokenizer(whole, verbose=False, **options)  # else it warns of every long prompt


class _Layer:
    """A text encoder as compel calls it, whose last hidden state is the one that the pipeline takes.

    compel knows three choices of layer; and transformers 5 keeps the final norm of a CLIPTextModel elsewhere than 4.
    What was read once is remembered.
    """

    def __init__(self, encoder: Encoder, clip_skip: int | None, device: torch.device) -> None:
        self._encoder, self._kind, self._clip_skip = encoder.text_encoder, encoder.kind, clip_skip
        self.device, self.dtype = device, encoder.text_encoder.dtype
        self._known: dict[tuple[int, ...], Tensor] = {}

    def read_together(self, ids: Tensor) -> Tensor | None:
        """Reads (texts, 77) tokens in one batch, as the pipelines do.

        Returns:
            The pooled outputs, (texts, width), of an encoder that has a projection.
        """
        embeds, pooled = self._read(ids, None)
        for row, found in zip(ids.tolist(), embeds.split(1), strict=True):
            self._known[tuple(row)] = found
        return pooled

    def __call__(self, ids: Tensor, mask: Tensor | None = None, **_: Any) -> SimpleNamespace:
        if mask is not None and not bool(mask.all()):
            return SimpleNamespace(last_hidden_state=self._read(ids, mask)[0])
        key = tuple(ids[0].tolist())
        if key not in self._known:
            self._known[key] = self._read(ids, None)[0]
        return SimpleNamespace(last_hidden_state=self._known[key])

    def _read(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        output = self._encoder(ids.to(self.device), attention_mask=mask, output_hidden_states=True)
        pooled = output[0] if output[0].ndim == 2 else None
        if self._kind != "sd":
            return output.hidden_states[-2 - (self._clip_skip or 0)], pooled
        if self._clip_skip is None:
            return output.last_hidden_state, None
        text_model = getattr(self._encoder, "text_model", self._encoder)
        return text_model.final_layer_norm(output.hidden_states[-1 - self._clip_skip]), None
