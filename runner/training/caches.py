"""What frozen parts make of the data: computed once, kept on disk, and then these parts may rest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runner.data.cache import Pictures
from runner.data.embeddings import Embeddings
from runner.data.latents import Latents
from runner.models.fingerprint import fingerprint
from runner.models.trainable import Trainable
from runner.processes.world import World
from runner.progress import Progress
from runner.training.idle import caches

_TEXTS = 64  # captions embedded together


class Caches:
    """The latents of pictures and the embeddings of captions, where the parts that make them do not learn.

    Args:
        family: the model, with what learns marked.
        values: the settled recipe.
        cache_dir: the cache root.
        progress: the display.
        world: the processes, which share the work.
    """

    def __init__(
        self, family: Trainable, values: dict[str, Any], cache_dir: Path, progress: Progress, world: World
    ) -> None:
        self._family, self._values = family, values
        self._where: dict[str, Any] = {"cache_dir": cache_dir, "progress": progress, "world": world}
        self._training = values["training"]
        self._kept = caches(family, family.parts, values)
        self._device = next(family.parts[family.DENOISER].parameters()).device

    def latents(self, pictures: Pictures) -> Latents | None:
        """The moments of all pictures; None where pictures are encoded at each step."""
        parts = self._kept.get("cache_latents")
        if parts is None:
            return None
        return Latents.build(
            pictures,
            data=self._values["data"],
            cache_variants=self._training["cache_variants"],
            encode=self._encode,
            fingerprint=self._fingerprint(parts),
            batch_size=self._training["batch_size"],
            **self._where,
        )

    def embeddings(self, others: Iterable[str]) -> Embeddings | None:
        """What the text encoders make of every caption, and of `others`; None where they read at each step."""
        parts = self._kept.get("cache_text_embeddings")
        if parts is None:
            return None
        return Embeddings.build(
            [*self._family.facts.texts, *others],
            orders=self._training["cache_variants"],
            embed=self._embed,
            fingerprint=self._fingerprint(parts),
            batch_size=_TEXTS,
            **self._where,
        )

    def _fingerprint(self, names: Sequence[str]) -> str:
        """Of the parts' weights, and of how texts become tokens."""
        family = self._family
        words = [str(sorted(family.tokenizer(name).get_vocab().items())) for name in names if name in family.TEXT_PARTS]
        fast = (key for key in ("channels_last", "allow_tf32") if self._values["compute"][key])
        made_of = [fingerprint(family.parts[name] for name in names), *words, str(self._device.type), *fast]
        return hashlib.sha256("\n".join(made_of).encode()).hexdigest()

    @torch.no_grad()
    def _encode(self, pixels: Tensor) -> Tensor:
        moments = self._family.encode(pixels.to(self._device))
        assert moments.std is not None
        return torch.stack([moments.mean, moments.std], 1)

    @torch.no_grad()
    def _embed(self, texts: Sequence[str]) -> dict[str, Tensor]:
        return self._family.embed(texts)
