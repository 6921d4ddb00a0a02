"""A tokenizer made from a data set's own captions, of CLIP's kind."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

_LETTERS = sorted(ByteLevel.alphabet())
_START, _END = "<|startoftext|>", "<|endoftext|>"
_SINGLE = [*_LETTERS, *(f"{letter}</w>" for letter in _LETTERS), _START, _END]
BOS, EOS = _SINGLE.index(_START), _SINGLE.index(_END)
"""The ids that begin and end a text, the same in every such tokenizer."""

SMALLEST = len(_SINGLE)
"""The fewest tokens: every byte, inside and at the end of a word, and the two marks; any text can be told by these."""


def clip_tokenizer(texts: Iterable[str], vocab_size: int, max_length: int) -> CLIPTokenizer:
    """A byte-level BPE (Sennrich et al. 2016) whose merges are the most frequent ones of `texts`.

    A word that is frequent enough is one token. Equal texts, in any order, give the same tokenizer.

    Args:
        texts: the captions.
        vocab_size: the most tokens that it may have, from SMALLEST.
        max_length: the tokens of the longest text, its two marks included.
    """
    learner = CLIPTokenizer().backend_tokenizer  # with CLIP's lower case and its splitting into words
    trainer = BpeTrainer(
        vocab_size=vocab_size + SMALLEST,  # more than enough: what is too much is cut off below
        min_frequency=1,
        initial_alphabet=_LETTERS,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(sorted(texts), trainer)
    merges: list[Any] = [(left, right) for left, right in json.loads(learner.to_str())["model"]["merges"]]
    merges = merges[: vocab_size - SMALLEST]
    names = dict.fromkeys([*_SINGLE, *(left + right for left, right in merges)])
    return CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=merges, model_max_length=max_length)
