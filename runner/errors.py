"""What can go wrong outside the recipe's text, one class per exit code.

Problems of the recipe itself are `runner.language.problems.RecipeProblems` (exit 1).
Every message is one sentence or two that name the place, the reason and the mend.
"""

from collections.abc import Iterator


class RecipeError(Exception):
    """A fault the user can mend. `exit_code` is the process's exit status."""

    exit_code = 70


class UsageError(RecipeError):
    """The command line is wrong."""

    exit_code = 2


class DataError(RecipeError):
    """The data source is missing, broken or does not fit."""

    exit_code = 3


class ModelError(RecipeError):
    """The model is missing, broken or does not fit; also an unknown, gated or unpinned hub id."""

    exit_code = 4


class EnvironmentFault(RecipeError):
    """The machine: network, hub out of order, disk, memory, versions, devices."""

    exit_code = 5


class Refused(RecipeError):
    """Unsafe: foreign tags, pickles, paths that leave their folder."""

    exit_code = 6


class CheckpointError(RecipeError):
    """A checkpoint cannot be used."""

    exit_code = 7


class Diverged(RecipeError):
    """Training produced NaN or infinity."""

    exit_code = 8


class Interrupted(RecipeError):
    """A signal stopped the run after its state was saved.

    Args:
        message: what was saved and how to go on.
        signum: the signal's number; the exit code is 128 + signum (SIGINT 130, SIGTERM 143).
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


class Elsewhere(RecipeError):
    """Another process of the same run failed and says why itself: this one ends in silence, with its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and what led to it, outermost first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
