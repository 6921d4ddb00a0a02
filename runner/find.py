"""From what a person names to a recipe's text: a path, a shipped name, a run's folder or a picture."""

from __future__ import annotations

from pathlib import Path

from runner import shipped_files
from runner.errors import UsageError
from runner.language.document import Document
from runner.language.load import load, parse
from runner.outputs import png
from runner.shown import shown


def document(x: str) -> Document:
    """The recipe that `x` names.

    Raises:
        UsageError: there is no such thing, or it holds no recipe.
        RecipeProblems: its text is not a recipe's.
    """
    path = Path(x)
    settled = path / "settled.yaml"
    if settled.is_file():
        return load(settled)
    if path.is_file():
        return _in_picture(path) if png.is_png(path) else load(path)
    if (shipped := shipped_files.find(x)) is not None:
        return parse(shipped.read_text("utf-8"), str(shipped))  # its ./pictures are yours, not the package's
    if path.is_dir():
        raise UsageError(f"{shown(x)} is a folder without a settled.yaml: give a recipe, or a run's folder")
    if "=" in x and not path.exists():
        raise UsageError(f"{shown(x)} is no recipe: 'recipe show' and 'recipe run' take key=value")
    return load(path)


def _in_picture(path: Path) -> Document:
    """The recipe that a picture carries; its relative paths are relative to the working directory."""
    text = png.read(path).get("recipe")
    if text is None:
        raise UsageError(f"{shown(path)} is a picture without a recipe: only pictures that recipe made carry theirs")
    return parse(text, str(path))
