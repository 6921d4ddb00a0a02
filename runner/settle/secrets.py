"""Settled recipes hold no secrets: what a run keeps is without them, and would be another recipe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runner.errors import Refused
from runner.language.document import Steps, dotted
from runner.secrets import redact, variable

_KEPT_WITHOUT = "description"  # decides nothing


def require_no_secrets(values: dict[str, Any]) -> None:
    """Looks at every text of settled values.

    Raises:
        Refused: one would be hidden where it is kept; names the key, and the variable of the environment.
    """
    for path, text in _texts(values):
        if path[0] != _KEPT_WITHOUT and redact(text) != text:
            name = variable(text)
            what, mend = "a token or a login", ""
            if name is not None:
                what, mend = f"the value of the environment variable {name}", f", or unset {name} for this command"
            raise Refused(
                f"{dotted(path)} holds {what}, which no run keeps, so it could not be repeated: "
                f"let it be called otherwise{mend}"
            )


def _texts(value: Any, path: Steps = ()) -> Iterator[tuple[Steps, str]]:
    if isinstance(value, str):
        yield path, value
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from _texts(inner, (*path, key))
