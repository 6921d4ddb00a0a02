"""From a checked recipe to a finished folder: rehearse, settle, plan, choose the folder, run."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner import doctor
from runner.errors import RecipeError
from runner.language.document import Steps
from runner.language.recipe import Recipe
from runner.outputs import folder as folders
from runner.outputs.folder import RunFolder
from runner.progress import Progress, create
from runner.shown import shown

_PATHS = {"id", "config", "prompts", "init_image", "mask_image", "metadata_file"}
_NOT_THE_WORK = ("description",)  # keys that may change without making it another run


def job(recipe: Recipe, arguments: Namespace) -> None:
    """Does what `recipe run` was asked to do with this recipe.

    Raises:
        RecipeProblems, RecipeError: whatever stops it, after the run's folder has recorded it.
    """
    doctor.floors()
    planning = arguments.dry_run  # prints the plan and nothing else
    progress = create(quiet=arguments.quiet or planning, as_json=arguments.format == "json" and not planning)
    progress.stage(recipe.values["name"])
    _quiet_libraries()
    with tempfile.TemporaryDirectory(prefix="recipe-") as scratch:
        if arguments.smoke:
            from runner.smoke import rehearsal

            recipe = replace(recipe, values=rehearsal(recipe, Path(scratch)))
        _settle_and_run(recipe, arguments, progress)


def _settle_and_run(recipe: Recipe, arguments: Namespace, progress: Progress) -> None:
    from runner.plan import plan, render, shortage
    from runner.settle import settle
    from runner.settle.apart import require_apart

    settled = settle(recipe, offline=arguments.offline, allow_pickle=arguments.allow_pickle)
    if "data" in settled.values:
        require_apart(recipe, settled.values["data"], Path(arguments.output_dir) / recipe.values["name"])
    planned = plan(settled)
    if (short := shortage(planned, settled.values)) is not None:
        progress.warn(short)
    if arguments.dry_run:
        text = json.dumps(planned.as_json(), indent=2) if arguments.format == "json" else render(planned)
        print(text)
        return
    from runner.places import cache_root
    from runner.run import Run
    from runner.signals import Stop

    identity = _identity(recipe)
    folder = _folder(recipe.values["name"], identity, arguments, progress)
    again = f"the same command goes on with {shown(folder.path)}"
    with folder.lock() as notice, Stop(again) as stop, _recorded(folder):
        if notice:
            progress.say(notice)
        folder.begin(identity=identity, given=_given(recipe, arguments), settled=settled.text)
        Run(settled, folder, cache_root(arguments.cache_dir), progress, stop)()
    _tell(folder, progress, again=not arguments.smoke)


def _given(recipe: Recipe, arguments: Namespace) -> str:
    """The recipe's own text, after what the command line changed."""
    changes = [f"# on the command line: {shown(change)}" for change in arguments.overrides]
    changes += ["# rehearsed with --smoke"] if arguments.smoke else []
    return "\n".join([*changes, *recipe.document.source.lines])


def _identity(recipe: Recipe) -> str:
    """Equal for recipes that ask for the same work: the resolved values with the places that paths mean."""
    values = {key: value for key, value in recipe.values.items() if key not in _NOT_THE_WORK}
    places = [str(recipe.folder_of(path)) for path in _named_places(values)]
    return hashlib.sha256(json.dumps([values, places], sort_keys=True).encode()).hexdigest()


def _named_places(value: Any, path: Steps = ()) -> Iterator[Steps]:
    """The keys whose texts may be relative paths."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in _PATHS and isinstance(inner, str):
                yield (*path, key)
            yield from _named_places(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _named_places(inner, (*path, i))


def _folder(name: str, identity: str, arguments: Namespace, progress: Progress) -> RunFolder:
    """The folder of an interrupted run of the same recipe, else a new one."""
    output_dir = Path(arguments.output_dir)
    anew = arguments.fresh or arguments.smoke
    unfinished = [] if anew else [run for run in folders.find(output_dir, name) if run.can_go_on]
    for run in unfinished:
        if run.identity == identity:
            progress.say(f"going on with {shown(run.path)}")
            return run
    if unfinished:
        progress.say(f"{shown(unfinished[0].path)} did not finish and is of another recipe: this is a new run")
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


def _quiet_libraries() -> None:
    """Bars and chatter of the libraries would break into the display."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore", module=r"(diffusers|transformers|accelerate|torch|huggingface_hub)\b")


def _tell(folder: RunFolder, progress: Progress, *, again: bool) -> None:
    """The last words: where things are and what to do next."""
    rows = [
        ("pictures", "samples/grid.png"),
        ("pictures", "samples/matrix.png"),
        ("progress", "samples/progress.gif"),
        ("model", "model"),
        ("captions", "captions/metadata.jsonl"),
    ]
    for name, inside in rows:
        if (folder.path / inside).exists():
            progress.result(f"{name:>9}  {folder.path / inside}")
    if (folder.path / "sample.yaml").exists():
        progress.result(f"{'draw':>9}  recipe run {folder.path / 'sample.yaml'}")
    if again:
        progress.result(f"{'again':>9}  recipe run {folder.path}")
