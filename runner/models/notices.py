"""What a person should know before pictures are drawn: words that are not read, pictures that are stretched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from runner.models.family import Request
from runner.prompts.lost import lost_words
from runner.shown import shown

_TEXTS = ("prompt_2", "prompt_3", "negative_prompt", "negative_prompt_2", "negative_prompt_3")


def cut_off(request: Request, tokenizer: Any, limit: int, mend: str) -> Iterator[str]:
    """One sentence for each text whose end is not read.

    Args:
        tokenizer: of the encoder that reads most.
        limit: the tokens that it reads, markers of start and end included.
        mend: what can be done.
    """
    given = [("prompt", text) for text in request.prompts]
    given += [(key, text) for key in _TEXTS if (text := request.sampling.get(key))]
    for key, text in given:
        lost = lost_words(tokenizer, text, limit)
        if lost is not None:
            yield f"a {key.replace('_', ' ')} is longer than {limit} tokens and ends unread: '{shown(lost)}'; {mend}"


def unused(request: Request, tokens: Iterable[str]) -> Iterator[str]:
    """One sentence for each embedding whose word stands in no text of the request."""
    sampling = request.sampling
    given = [*(sampling.get("prompts") or request.prompts), *(sampling.get(key) or "" for key in _TEXTS)]
    for token in tokens:
        if not any(token in text for text in given):
            yield (
                f"the embedding '{shown(token)}' is in no prompt and not in negative_prompt "
                f"'{shown(sampling.get('negative_prompt') or '')}', where it changes nothing: write its word there"
            )


def stretched(request: Request) -> Iterator[str]:
    """One sentence if a picture is drawn from in another shape than its own."""
    height, width = request.sampling.get("height"), request.sampling.get("width")
    if request.image is None or not height or not width:
        return
    own_width, own_height = request.image.size
    if abs(own_width * height / (own_height * width) - 1) > 0.05:
        yield (
            f"init_image has {own_width}×{own_height} pixels and is stretched to {width}×{height}: "
            "height and width of its own shape would keep it"
        )
