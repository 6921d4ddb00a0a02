"""From a checked recipe to a finished folder: rehearse, settle, plan, choose the folder, run."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runner import doctor, going_on
from runner.changes import asked
from runner.errors import EnvironmentFault, RecipeError
from runner.going_on import Earlier
from runner.language.recipe import Recipe
from runner.outputs.folder import RunFolder
from runner.progress import Progress, create
from runner.shown import shown

if TYPE_CHECKING:
    from runner.settle import Settled


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
    if not arguments.smoke:
        _settle_and_run(recipe, arguments, progress)
        return
    from runner.smoke import rehearsal

    with _scratch() as scratch:
        recipe = replace(recipe, values=rehearsal(recipe, Path(scratch)))
        _settle_and_run(recipe, arguments, progress)


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for what a rehearsal makes up."""
    try:
        return tempfile.TemporaryDirectory(prefix="recipe-")
    except OSError as error:
        raise EnvironmentFault(
            f"no temporary folder can be made ({shown(error.strerror)}): free some space, or let TMPDIR name another"
        ) from error


def _settle_and_run(recipe: Recipe, arguments: Namespace, progress: Progress) -> None:
    earlier = going_on.find(recipe, arguments, progress)
    settled = _settled(earlier.settle_again(recipe) if earlier else recipe, earlier, arguments, progress)
    if arguments.dry_run:
        return
    if earlier:
        progress.say(earlier.told)
    from runner.places import cache_root
    from runner.run import Run
    from runner.signals import Stop

    folder = earlier.folder if earlier else RunFolder.create(Path(arguments.output_dir), recipe.values["name"])
    again = f"the same command goes on with {shown(folder.path)}"
    with folder.lock() as notice, Stop(again) as stop, _recorded(folder):
        if notice:
            progress.say(notice)
        if earlier and earlier.made_anew:
            _set_aside(folder, progress)
        folder.begin(
            given=_given(recipe, arguments),
            text=settled.text,
            asked=earlier.asked if earlier else asked(recipe),
            settled=settled.values,
        )
        Run(settled, folder, cache_root(arguments.cache_dir), progress, stop, allow_changes=arguments.allow_changes)()
    _tell(folder, progress, again=not arguments.smoke)


def _settled(recipe: Recipe, earlier: Earlier | None, arguments: Namespace, progress: Progress) -> Settled:
    """The settled recipe, after its plan was looked at, or printed for a dry run."""
    from runner.plan import plan, render, shortage, shortfall
    from runner.settle import settle
    from runner.settle.apart import require_apart
    from runner.settle.secrets import require_no_secrets

    settled = settle(recipe, offline=arguments.offline, allow_pickle=arguments.allow_pickle)
    require_no_secrets(settled.values, Path(arguments.output_dir))
    if "data" in settled.values:
        require_apart(recipe, settled.values["data"], Path(arguments.output_dir) / recipe.values["name"])
    planned = plan(settled)
    if earlier:
        earlier.require_ahead(planned.training.steps if planned.training else None)
    if (short := shortage(planned, settled.values)) is not None:
        progress.warn(short)
    lack = shortfall(planned.disk, Path(arguments.output_dir), earlier.folder.path if earlier else None)
    if lack is not None and not arguments.dry_run:
        raise EnvironmentFault(lack)
    if arguments.dry_run:
        if lack is not None:
            progress.warn(lack)
        print(json.dumps(planned.as_json(), indent=2) if arguments.format == "json" else render(planned))
    return settled


def _given(recipe: Recipe, arguments: Namespace) -> str:
    """The recipe's own text, after what the command line changed."""
    changes = [f"# on the command line: {shown(change)}" for change in arguments.overrides]
    changes += ["# rehearsed with --smoke"] if arguments.smoke else []
    return "\n".join([*changes, *recipe.document.source.lines])


def _set_aside(folder: RunFolder, progress: Progress) -> None:
    """What the run made at its end is of the recipe before: it makes it anew."""
    name, moved = folder.set_aside()
    if moved:
        progress.say(f"what it had made is in {shown(folder.path / name)} now: {len(moved)} files and folders")


@contextmanager
def _recorded(folder: RunFolder) -> Iterator[None]:
    """run.json tells how the run ended."""
    try:
        yield
    except BaseException as error:
        with suppress(EnvironmentFault):  # a disk that takes nothing more does not hide the first fault
            folder.end(*_ended(error))
        raise
    folder.end(0, "done")


def _ended(error: BaseException) -> tuple[int, str]:
    """Exit code and message."""
    return (error.exit_code, str(error)) if isinstance(error, RecipeError) else (70, f"{type(error).__name__}: {error}")


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
