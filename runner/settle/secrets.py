"""Settled recipes hold no secrets: what a run keeps is without them, and would be another recipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner.errors import Refused
from runner.language.document import Steps, dotted
from runner.secrets import redact, variable


def require_no_secrets(values: dict[str, Any], output_dir: Path) -> None:
    """Looks at every text of settled values, and at where runs are kept, which stands in recipes that they leave.

    Raises:
        Refused: one would be hidden where it is kept; names the key, and the variable of the environment.
    """
    for key, text in [*_texts(values), ("--output-dir", str(output_dir.absolute()))]:
        if redact(text) != text:
            name = variable(text)
            what, mend = "a token or a login", ""
            if name is not None:
                what, mend = f"the value of the environment variable {name}", f", or unset {name} for this command"
            raise Refused(
                f"{key} holds {what}, which no run keeps, so it could not be repeated: let it be called otherwise{mend}"
            )


def _texts(value: Any, path: Steps = ()) -> Iterator[tuple[str, str]]:
    """Dotted keys and their texts."""
    if isinstance(value, str):
        yield dotted(path), value
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from _texts(inner, (*path, key))
