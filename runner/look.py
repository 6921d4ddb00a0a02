"""`recipe data`: look at a recipe's pictures before training, or export them."""

from __future__ import annotations

import copy
import json
from argparse import Namespace
from pathlib import Path

from runner.data.cache import prepare
from runner.data.export import export
from runner.data.report import contact_sheet, facts, render
from runner.language.recipe import Recipe
from runner.outputs.files import faults
from runner.places import cache_root
from runner.processes.world import World
from runner.progress import Progress
from runner.settle.apart import require_apart
from runner.settle.pictures import open_data

_WHOLE = {"background": "#ffffff", "max_images": None, "on_error": "stop"}  # for a source without these keys


def look(recipe: Recipe, arguments: Namespace, progress: Progress) -> None:
    """Prints what the data is and writes a contact sheet; with --export writes the pictures instead.

    Broken pictures are listed rather than stopping it.

    Raises:
        RecipeProblems: what is written would be read as data.
        DataError, ModelError (hub ids), EnvironmentFault, Refused.
    """
    values = copy.deepcopy(recipe.values)
    source = open_data(recipe, values, offline=arguments.offline)
    if arguments.export is not None:
        require_apart(recipe, values["data"], Path(arguments.export), "--export")
        data = {**_WHOLE, **values["data"]}
        options = {key: data[key] for key in ("background", "max_images", "on_error")}
        count = export(source, Path(arguments.export), progress, **options)
        progress.result(f"{count} pictures in {arguments.export}")
        return
    require_apart(recipe, values["data"], Path(arguments.output_dir) / values["name"])
    section = {**values["data"], "on_error": "skip"}
    root = cache_root(arguments.cache_dir)
    pictures = prepare(source, section=section, cache_dir=root, progress=progress, world=World())
    buckets = section.get("aspect_ratio_buckets")
    found = facts(pictures, resolution=section["resolution"], buckets=buckets, told=section)
    sheet = Path(arguments.output_dir) / values["name"] / f"contact-sheet-{pictures.fingerprint[:8]}.png"
    with faults(sheet):
        sheet.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(pictures, sheet)
    if arguments.format == "json":
        progress.result(json.dumps({**found, "contact_sheet": str(sheet)}, indent=2))
    else:
        progress.result(render(found))
        progress.result(f"{'sheet':>9}  {sheet}")
