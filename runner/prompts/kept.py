"""What texts became, kept for the batches that follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import ref

from torch import Tensor

_MOST = 16  # batches of prompts, on the device: 4 MiB for each prompt that a T5 encoder reads


class Kept:
    """Embeddings by the texts they were read from, the last few of them, of one model: another one begins anew.

    They hold for as long as the text encoders stay as they are: drawing on the way through training begins with none.
    """

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}
        self._model: Callable[[], Any] = lambda: None

    def get(self, model: Any, key: str, read: Callable[[], Any]) -> Any:
        """What `read` returned for this key of this model, now or before."""
        if self._model() is not model:
            self._found, self._model = {}, ref(model)
        found = self._found.pop(key) if key in self._found else read()
        self._found[key] = found  # the newest last
        while len(self._found) > _MOST:
            del self._found[next(iter(self._found))]
        return found

    @contextmanager
    def of(self, model: Any, pipeline: Any) -> Iterator[None]:
        """Inside, a diffusers pipeline of this model reads the same texts once: its `encode_prompt`, remembered."""
        read = pipeline.encode_prompt

        def remembered(*arguments: Any, **options: Any) -> Any:
            given = [*arguments, *options.values()]
            if any(isinstance(value, Tensor) for value in given):  # embeddings already
                return read(*arguments, **options)
            return self.get(model, repr((arguments, options)), lambda: read(*arguments, **options))

        pipeline.encode_prompt = remembered
        try:
            yield
        finally:
            del pipeline.encode_prompt
