"""What each sample's picture is said to show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runner.data.cache import Pictures
from runner.data.draws import TAGS, TEXT, rng

_PLACE = re.compile(r"\{(caption|label)\}")
_MOST = 2**20  # orders of a text's tags, far more than a recipe may ask for


class Texts:
    """The captions of a run's samples.

    A picture's text is the instance prompt, else one of the templates that it can fill, else its own caption. Then
    tags (what stands between commas) are shuffled and the trigger is put before all. A dropped text is ''.

    Args:
        pictures: the prepared data; a source's own `caption_keys` stand in for those of the section.
        data: the resolved `data` section.
        seed: the recipe's seed.
    """

    def __init__(self, pictures: Pictures, data: Mapping[str, Any], seed: int) -> None:
        self._pictures, self._data, self._seed = pictures, data, seed

    def text(self, index: int, number: int, orders: int | None = None) -> str:
        """The text of sample `number`, which shows picture `index`.

        Args:
            orders: how many orders of tags there are to choose from, as in `variants`; None for all there can be.
        """
        draw = rng(self._seed, TEXT, number)
        drop, template = draw.random(), draw.random()
        texts = self._choices(index)
        if drop < self._data["caption_dropout_rate"] or not texts:
            return ""
        text = texts[int(template * len(texts))]
        if self._data["shuffle_tags"]:
            tags = _tags(text)
            text = _ordered(tags, index, int(draw.integers(orders))) if orders else ", ".join(draw.permutation(tags))
        return self._triggered(text)

    def variants(self, index: int, limit: int) -> tuple[str, ...]:
        """Every text that picture `index` may have with `limit` orders of its tags, its plain one first."""
        texts = self._choices(index)
        if self._data["shuffle_tags"]:
            texts = tuple(_ordered(_tags(text), index, order) for order in range(limit) for text in texts)
        texts = tuple(map(self._triggered, texts)) or ("",)
        return tuple(dict.fromkeys((*texts, "") if self._data["caption_dropout_rate"] else texts))

    def plain(self, index: int) -> str:
        """The text of picture `index` with nothing left to chance: its first template, its tags as they stand."""
        return self.variants(index, 1)[0]

    def every(self, limit: int) -> list[str]:
        """All texts that samples may have, each once, sorted; `limit` as in `variants`."""
        return sorted({text for i in range(len(self._pictures)) for text in self.variants(i, limit)})

    def missing(self) -> list[str]:
        """The names of the pictures that have no text."""
        return [self._pictures.name(i) for i in range(len(self._pictures)) if not self._choices(i)]

    def _choices(self, index: int) -> tuple[str, ...]:
        """The texts that templates give for a picture, in their order; empty for a picture without any."""
        own = self._pictures.caption_keys(index)
        chosen = own if own.get("instance_prompt") or own.get("caption_templates") else self._data
        if chosen.get("instance_prompt"):
            return (chosen["instance_prompt"],)
        words = self._words(index)
        templates = chosen.get("caption_templates") or ["{caption}"]
        fitting = [t for t in templates if all(words[name] for name in _PLACE.findall(t))]
        return tuple(_PLACE.sub(lambda place: words[place[1]] or "", template) for template in fitting)

    def _words(self, index: int) -> dict[str, str | None]:
        labels = self._pictures.labels
        label = -1 if labels is None else int(labels[index])
        return {
            "caption": self._pictures.caption(index),
            "label": self._pictures.classes[label] if label >= 0 else None,
        }

    def _triggered(self, text: str) -> str:
        trigger = self._data["trigger"]
        return f"{trigger}, {text}" if trigger else text


def _tags(text: str) -> list[str]:
    return [tag.strip() for tag in text.split(",") if tag.strip()]


def _ordered(tags: list[str], index: int, order: int) -> str:
    """One of a picture's kept orders of tags; the first is that in which they stand. The same for every seed."""
    return ", ".join(rng(0, TAGS, index * _MOST + order).permutation(tags) if order else tags)
