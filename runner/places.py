"""Where things are kept on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from runner.errors import EnvironmentFault


def cache_root(given: str | None) -> Path:
    """The cache root: `given`, else $XDG_CACHE_HOME/recipe, else ~/.cache/recipe. A recipe never chooses it.

    Raises:
        EnvironmentFault: there is no home folder.
    """
    if given is not None:
        return Path(given).absolute()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).absolute() / "recipe"
    try:
        return Path.home() / ".cache" / "recipe"
    except RuntimeError:
        raise EnvironmentFault(
            "this user has no home folder: name a folder for prepared data with --cache-dir"
        ) from None
