"""One file per model family, and the one place that picks it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_FAMILIES = {"pixel_unet": ("runner.models.pixel_unet", "PixelUNet")}


def family_class(name: str) -> Any:
    """The class of a family, imported when it is first asked for."""
    module, attribute = _FAMILIES[name]
    return getattr(import_module(module), attribute)
