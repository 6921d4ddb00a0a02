"""A run's pictures are kept apart from the data, which they would become a part of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from runner.language.problems import RecipeProblems
from runner.language.recipe import Recipe
from runner.settle.pictures import sections
from runner.shown import shown


def require_apart(recipe: Recipe, data: dict[str, Any], target: Path, flag: str = "--output-dir") -> None:
    """No folder of pictures is written into.

    Args:
        recipe: where the keys stand.
        data: the settled `data` section.
        target: the folder that will hold pictures, there already or not.
        flag: what chooses the folder.

    Raises:
        RecipeProblems: `target` is a folder of the data, or lies in one where it would be found.
    """
    real = Path(os.path.realpath(target))
    problems = []
    for place, section in sections(data):
        if section["type"] != "folder":
            continue
        root = Path(os.path.realpath(section["id"]))
        if real.is_relative_to(root) and not any(part.startswith(".") for part in real.relative_to(root).parts):
            sentence = (
                f"pictures would be written to {shown(target)}, which lies in this folder, and be read as data: "
                f"choose another place with {flag}"
            )
            problems.append(recipe.problem((*place, "id"), "output-in-data", sentence))
    if problems:
        raise RecipeProblems(problems)
