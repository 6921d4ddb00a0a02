"""Which run a command goes on with: one that did not finish, or, by --allow-changes, one of another recipe."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner.changes import Change, asked, changes, forbidden, kept, made_anew, told
from runner.errors import CheckpointError
from runner.language.recipe import Recipe
from runner.outputs import folder as folders
from runner.outputs.folder import RunFolder
from runner.progress import Progress
from runner.shown import shown


@dataclass(frozen=True)
class Earlier:
    """A run that is there, as a recipe sees it.

    Attributes:
        now: what the recipe asks for.
        first: what the run was asked.
        settled: what became of that.
        before: the one of both that is nearer to `now`: recipes are given, and so are the folders of runs.
    """

    folder: RunFolder
    now: dict[str, Any]
    first: dict[str, Any]
    settled: dict[str, Any]
    before: dict[str, Any]

    @classmethod
    def of(cls, folder: RunFolder, now: dict[str, Any]) -> Earlier | None:
        """The run in a folder; None where its record tells nothing of its recipe."""
        record = folder.record.read()
        first, settled = record.get("asked"), record.get("settled")
        if not isinstance(first, dict) or not isinstance(settled, dict):
            return None
        before = min(first, settled, key=lambda values: len(changes(values, now)))
        return cls(folder, now, first, settled, before)

    @property
    def changes(self) -> list[Change]:
        """What the recipe asks for otherwise."""
        return changes(self.before, self.now)

    @property
    def told(self) -> str:
        """What is said when it goes on."""
        changed = f" ({told(self.changes)})" if self.changes else ""
        return f"going on with {shown(self.folder.path)}{changed}"

    @property
    def asked(self) -> dict[str, Any]:
        """What the run is asked from now on: what it was, with the changes."""
        asked: dict[str, Any] = kept(self.now, self.now, self.before, self.first)
        return asked

    @property
    def forbidden(self) -> list[Change]:
        """The changes with which it cannot go on."""
        return forbidden(self.changes, self.now)

    @property
    def made_anew(self) -> bool:
        """Whether its model and its last pictures are to be made anew."""
        return made_anew(self.changes)

    def settle_again(self, recipe: Recipe) -> Recipe:
        """The recipe with what the run has settled, but for `compute`, which the machine decides."""
        values = kept(recipe.values, self.now, self.before, self.settled)
        return replace(recipe, values={**values, "compute": recipe.values["compute"]})

    def require_ahead(self, steps: int | None) -> None:
        """A run goes on only forwards.

        Args:
            steps: of the whole run; None where they are not known yet.

        Raises:
            CheckpointError: it is past them.
        """
        from runner.training.checkpoints import reached

        step = reached(self.folder.path / "checkpoints")
        if steps is not None and step > steps:
            raise CheckpointError(
                f"{shown(self.folder.path)} is at step {step} already, past the {steps} that are asked for: "
                "ask for more, or start anew with --fresh"
            )


def find(recipe: Recipe, arguments: Namespace, progress: Progress) -> Earlier | None:
    """The run that goes on; None for a new one. Says why another did not do.

    Raises:
        CheckpointError: by --allow-changes, where the newest run cannot go on as the recipe is now.
        EnvironmentFault: another process works in the run that the command names.
        Refused: the name of the recipe is no folder's.
    """
    if arguments.fresh or arguments.smoke:
        return None
    now = asked(recipe)
    runs = [(run, Earlier.of(run, now)) for run in _candidates(recipe, arguments)]
    for run, earlier in runs:
        if earlier is not None and not earlier.changes and run.can_go_on:
            return earlier
    if not runs:
        return None
    if not arguments.allow_changes:
        _tell(runs, progress)
        return None
    run, earlier = runs[0]
    if earlier is None:
        raise CheckpointError(f"{shown(run.path)} does not tell what it was asked: start anew with --fresh")
    if earlier.forbidden:
        raise CheckpointError(
            f"{shown(run.path)} cannot go on with these changed: {told(earlier.forbidden)}: "
            "undo that, or start anew with --fresh"
        )
    return earlier


def _candidates(recipe: Recipe, arguments: Namespace) -> Iterator[RunFolder]:
    """The run that the command names, then those of the recipe's name, newest first."""
    named = Path(arguments.recipe)
    given = RunFolder.open(named) if (named / "run.json").is_file() else None
    if given is not None:
        if given.state == "running" and not arguments.dry_run:
            with given.lock():  # which says who works in it
                pass
        yield given
    for run in folders.find(Path(arguments.output_dir), recipe.values["name"]):
        if given is None or run.path.resolve() != given.path.resolve():
            yield run


def _tell(runs: list[tuple[RunFolder, Earlier | None]], progress: Progress) -> None:
    """The newest run that did not finish, unless a newer one did."""
    for run, earlier in runs:
        if run.record.lost:
            lost = shown(run.path / "run.json")
            progress.warn(f"{lost} is missing or damaged, so that run cannot go on: this is a new run")
            return
        if run.state == "running":
            progress.say(f"{shown(run.path)} is still running: this is a new run")
            return
        if run.state == "done":
            return
        if run.can_go_on:
            progress.say(_notice(run, earlier))
            return


def _notice(run: RunFolder, earlier: Earlier | None) -> str:
    from runner.training.checkpoints import reached

    step = reached(run.path / "checkpoints")
    ended = f"stopped at step {step}" if step else "did not finish"
    differs = f" ({told(earlier.changes)})" if earlier is not None else ""
    mend = "; --allow-changes goes on with it" if earlier is not None and not earlier.forbidden else ""
    return f"{shown(run.path)} {ended} and is of another recipe{differs}: this is a new run{mend}"
