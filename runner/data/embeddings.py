"""The embeddings of all texts, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from runner.data.built import built
from runner.data.tensors import TensorStore

if TYPE_CHECKING:
    from runner.processes.world import World
    from runner.progress import Progress

_VERSION = 1


class Embeddings:
    """What a model's text encoders make of each text. Get them with `build`.

    Attributes:
        orders: how many orders of each text's tags are kept; what samples may choose from.
    """

    def __init__(self, texts: Sequence[str], store: TensorStore, orders: int) -> None:
        self._row = {text: row for row, text in enumerate(texts)}
        self._store = store
        self.orders = orders

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        *,
        orders: int,
        embed: Callable[[Sequence[str]], dict[str, Tensor]],
        fingerprint: str,
        batch_size: int,
        cache_dir: Path,
        progress: Progress,
        world: World,
    ) -> Embeddings:
        """The embeddings of `texts`, from the cache or computed into it now.

        Args:
            texts: all that samples may have (`Texts.every` with the same `orders`) and any others; repeats are let go.
            embed: a row per text in each of its tensors.
            fingerprint: of everything that decides what `embed` returns.
            batch_size: texts embedded together.
            cache_dir: the cache root; this writes below `cache_dir/embeddings`.
            world: the processes that share the work.

        Raises:
            EnvironmentFault: the cache cannot be written.
        """
        ordered, root = sorted(set(texts)), cache_dir / "embeddings"
        key = hashlib.sha256(json.dumps([_VERSION, fingerprint, ordered]).encode()).hexdigest()
        rows = range(len(ordered))
        store = built(
            root / key,
            len(ordered),
            [rows[start : start + batch_size] for start in rows[::batch_size]],
            lambda numbers: embed(ordered[numbers[0] : numbers[-1] + 1]),
            counted=("Encoding captions", "caption"),
            progress=progress,
            world=world,
        )
        return cls(ordered, store, orders)

    def __getitem__(self, text: str) -> dict[str, Tensor]:
        """The tensors of one text, without a dimension for rows."""
        return self._store[self._row[text]]
