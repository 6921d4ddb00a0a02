"""From a checked recipe to a finished folder: rehearse, settle, plan, choose the folder, run."""

from __future__ import annotations

import hashlib
import json
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner import doctor
from runner.errors import RecipeError
from runner.language.recipe import Recipe, to_yaml
from runner.outputs import folder as folders
from runner.outputs.folder import RunFolder
from runner.progress import Progress, create
from runner.shown import shown

_NOT_THE_WORK = ("description",)  # keys that may change without making it another run


def job(recipe: Recipe, arguments: Namespace) -> None:
    """Does what `recipe run` was asked to do with this recipe.

    Raises:
        RecipeProblems, RecipeError: whatever stops it, after the run's folder has recorded it.
    """
    doctor.floors()
    progress = create(quiet=arguments.quiet, as_json=arguments.format == "json")
    progress.stage(recipe.values["name"])
    with _quiet_libraries(), tempfile.TemporaryDirectory(prefix="recipe-") as scratch:
        if arguments.smoke:
            from runner.smoke import rehearsal

            recipe = replace(recipe, values=rehearsal(recipe.values, Path(scratch)))
        _settle_and_run(recipe, arguments, progress)


def _settle_and_run(recipe: Recipe, arguments: Namespace, progress: Progress) -> None:
    from runner.plan import plan, render
    from runner.settle import settle

    settled = settle(recipe, offline=arguments.offline)
    planned = plan(settled)
    if arguments.dry_run:
        text = json.dumps(planned.as_json(), indent=2) if arguments.format == "json" else render(planned)
        print(text)
        return
    from runner.data.cache import cache_root
    from runner.run import Run
    from runner.signals import Stop

    identity = _identity(recipe)
    folder = _folder(recipe.values["name"], identity, arguments, progress)
    with folder.lock(), Stop(progress, f"the same command goes on ({folder.path})") as stop, _recorded(folder):
        folder.begin(identity=identity, given=recipe.document.source.text, settled=to_yaml(settled.values, header=True))
        Run(settled, folder, cache_root(arguments.cache_dir), progress, stop)()
    _tell(folder, settled.values, progress)


def _identity(recipe: Recipe) -> str:
    """Equal for recipes that ask for the same work: the resolved values with the places that paths mean."""
    values = {key: value for key, value in recipe.values.items() if key not in _NOT_THE_WORK}
    places = [str(recipe.folder_of((section, "id"))) for section in ("data", "model") if section in values]
    return hashlib.sha256(json.dumps([values, places], sort_keys=True).encode()).hexdigest()


def _folder(name: str, identity: str, arguments: Namespace, progress: Progress) -> RunFolder:
    """The folder of an interrupted run of the same recipe, else a new one."""
    output_dir = Path(arguments.output_dir)
    last = folders.newest(output_dir, name)
    if last is not None and not arguments.fresh and last.can_go_on:
        if last.identity == identity:
            progress.say(f"going on with {shown(last.path)}")
            return last
        progress.say(f"{shown(last.path)} was interrupted, and the recipe has changed since: this is a new run")
    return RunFolder.create(output_dir, name)


@contextmanager
def _recorded(folder: RunFolder) -> Iterator[None]:
    """run.json tells how the run ended."""
    try:
        yield
    except RecipeError as error:
        folder.end(error.exit_code, str(error))
        raise
    except BaseException as error:
        folder.end(70, f"{type(error).__name__}: {error}")
        raise
    folder.end(0, "done")


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Bars and chatter of the libraries would break into the display."""
    import logging
    import os

    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in ("diffusers", "transformers", "accelerate", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
    yield


def _tell(folder: RunFolder, values: dict[str, Any], progress: Progress) -> None:
    """The last words: where things are and what to do next."""
    samples = folder.path / "samples"
    if (samples / "grid.png").is_file():
        progress.result(f"pictures: {samples / 'grid.png'}")
    if (samples / "progress.gif").is_file():
        progress.result(f"progress: {samples / 'progress.gif'}")
    if (folder.path / "model").is_dir():
        progress.result(f"model:    {folder.path / 'model'}")
    progress.result(f"again:    recipe run {folder.path}   what it was: recipe show {folder.path}")
    del values
