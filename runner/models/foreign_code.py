"""What in the JSON files of a model asks for code of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_CODE = {"auto_map", "trust_remote_code", "custom_pipeline", "custom_pipelines", "custom_generate", "audio_tokenizer"}
_KERNEL = "_implementation"  # attn_implementation, _attn_implementation_internal: owner/name is a kernel on the hub


def asked_code(value: Any) -> str | None:
    """The first key, at any depth of a JSON value, that names code outside the libraries; None where there is none."""
    kernels = (key for key, inner in pairs(value) if _KERNEL in key and isinstance(inner, str) and "/" in inner)
    return next((key for key, _ in pairs(value) if key in _CODE), next(kernels, None))


def pairs(value: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a JSON value with what it holds, at all depths; what lies in an `*_implementation` counts as it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            name = above if _KERNEL in above else key
            yield name, inner
            yield from pairs(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from pairs(inner, above)
