"""Prompts in a file, and the words of a prompt that a text encoder never sees."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import DataError
from runner.shown import shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MOST_BYTES = 2**20
_MOST_PROMPTS = 10_000
_LONGEST = 20_000  # characters, as in a recipe
_VECTOR = re.compile(r"(.+)_[0-9]+")


def lost_words(tokenizer: PreTrainedTokenizerBase, prompt: str, limit: int | None = None) -> str | None:
    """The end of `prompt` that does not fit into `limit` tokens, from a whole word on; None if all fits.

    Markers of start and end count. A textual inversion of several vectors takes as many tokens as it has vectors, as
    diffusers' `maybe_convert_prompt` has it. The words are a stranger's: to be shown through `shown`.

    Args:
        tokenizer: one with offsets ("fast"), as all of transformers 5 are.
        limit: tokens; by default the tokenizer's model_max_length.
    """
    from diffusers.loaders import TextualInversionLoaderMixin

    text = TextualInversionLoaderMixin().maybe_convert_prompt(prompt, tokenizer)
    found = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False)
    own = [i for i, marker in enumerate(found["special_tokens_mask"]) if not marker]
    room = (limit or tokenizer.model_max_length) - tokenizer.num_special_tokens_to_add()
    if len(own) <= room:
        return None
    words = found.word_ids()
    first = next(i for i in own if words[i] == words[own[room]])  # the start of a word that is cut in two
    return _as_written(text[found["offset_mapping"][first][0] :], tokenizer).strip()


def _as_written(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """`text` with one name for each textual inversion: 'cat_2 cat_3, a dog' is 'cat, a dog'."""
    names = tokenizer.added_tokens_encoder
    for name in {match[1] for match in map(_VECTOR.fullmatch, names) if match} & set(names):
        vectors = rf"{re.escape(name)}(?:_[0-9]+)?(?:\s+{re.escape(name)}_[0-9]+)+|{re.escape(name)}_[0-9]+"
        text = re.sub(vectors, lambda _, name=name: name, text)  # type: ignore[misc]
    return text


def read_prompts(path: Path) -> list[str]:
    """The prompts of a UTF-8 text file, one a line.

    Blank lines are skipped, and so are lines that begin with '# '. Ends of lines may be those of any system; a byte
    order mark and space around a prompt are dropped.

    Raises:
        DataError: the file cannot be read, is over 1 MiB, is no UTF-8 text, or holds no prompt, more than 10,000, or
            one over 20,000 characters.
    """
    place = shown(path, 1000)
    prompts = []
    for number, line in enumerate(_text(path, place).replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        prompt = line.strip()
        if not prompt or prompt == "#" or prompt.startswith("# "):
            continue
        if hidden := next((c for c in prompt if unicodedata.category(c) == "Cc" and c != "\t"), None):
            raise DataError(f"{place} line {number} holds the control character {shown(hidden)}: take it out")
        if len(prompt) > _LONGEST:
            raise DataError(f"{place} line {number} has {len(prompt):,} characters: a prompt has {_LONGEST:,} at most")
        prompts.append(prompt)
    if not prompts:
        raise DataError(f"{place} holds no prompt: write one on each line")
    if len(prompts) > _MOST_PROMPTS:
        raise DataError(
            f"{place} holds {len(prompts):,} prompts, {_MOST_PROMPTS:,} at most: split it into several files"
        )
    return prompts


def _text(path: Path, place: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{place} cannot be read ({error.strerror}): correct the path") from error
    if len(data) > _MOST_BYTES:
        raise DataError(
            f"{place} is over 1 MiB, which no list of prompts needs: name a text file with one prompt a line"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{place} is not UTF-8: line {line}, byte {error.start} of the file is 0x{data[error.start]:02x}; "
            "save it as UTF-8"
        ) from None
