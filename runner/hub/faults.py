"""What the hub's libraries raise, as one sentence each with the right exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from huggingface_hub import constants
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is httpx's, whichever it uses
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from runner.errors import DataError, EnvironmentFault, ModelError, RecipeError, causes
from runner.shown import shown


@dataclass(frozen=True)
class Asked:
    """A repository that a recipe asks for.

    Attributes:
        kind: 'data set' or 'model'.
        id: owner/name.
        key: the recipe's key that names it, such as 'model.id'.
        revision: a branch, tag or commit; None for the main branch.
    """

    kind: str
    id: str
    key: str
    revision: str | None = None

    @property
    def name(self) -> str:
        """What sentences call it: "model owner/name"."""
        return f"{self.kind} {shown(self.id)}"

    @property
    def instead(self) -> str:
        """What can be done without the hub."""
        if self.kind == "model":
            rest = f"{self.key} takes a folder of your own, and --offline draws with a model that is on this machine"
        else:
            rest = (
                "data.type=folder data.id=… takes a folder of your own, "
                "and 'recipe run quickstart' needs no network at all"
            )
        return f"--smoke rehearses this recipe without it, {rest}"

    @property
    def page(self) -> str:
        """Its page on the hub."""
        return f"{shown(constants.ENDPOINT)}/{'' if self.kind == 'model' else 'datasets/'}{shown(self.id)}"


def said(text: object) -> str:
    """Text that came from the hub or its libraries, as one printable line."""
    return shown(str(text).strip().split("\n")[0])


@contextmanager
def reading(asked: Asked) -> Iterator[None]:
    """A context that turns what the hub's libraries raise into faults of this repository."""
    try:
        yield
    except RecipeError:
        raise
    except Exception as error:
        raise fault(error, asked) from error


def fault(error: Exception, asked: Asked) -> RecipeError:
    """The fault to raise for `error`, met while reading a repository of the hub.

    Returns:
        ModelError (the exit code for hub ids): unknown, private, gated, disabled, no such revision.
        EnvironmentFault: the hub cannot be reached, limits the rate, or is out of order; half a download.
        DataError, or ModelError of a model: anything else, with the first line of what was raised.
    """
    for cause in causes(error):
        known = _known(cause, asked)
        if known is not None:
            return known
    if isinstance(error, LocalEntryNotFoundError):
        return EnvironmentFault(f"{asked.name} is not on this machine, or only in part: {asked.instead}")
    if isinstance(error, OSError) and error.errno is not None:
        return EnvironmentFault(
            f"{asked.name} cannot be stored in the hub's own cache ({said(error.strerror)}): see HF_HOME"
        )
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return EnvironmentFault(f"a file of {asked.name} came only in part: run again")
    return _other(asked)(f"{asked.name} cannot be read ({type(error).__name__}: {said(error)})")


def _known(cause: BaseException, asked: Asked) -> RecipeError | None:
    if isinstance(cause, RecipeError):
        return cause
    if isinstance(cause, OfflineModeIsEnabled):
        return EnvironmentFault(f"{asked.name} is not on this machine and the hub is switched off: {asked.instead}")
    if isinstance(cause, GatedRepoError):
        return ModelError(f"{asked.name} is gated: ask for access on {asked.page}, then log in with 'hf auth login'")
    if isinstance(cause, DisabledRepoError):
        return ModelError(f"{asked.name} is disabled on the hub: choose another")
    if isinstance(cause, RevisionNotFoundError):
        key = asked.key.removesuffix("id") + "revision"
        return ModelError(f"{asked.name} has no revision '{shown(asked.revision)}': correct {key}")
    if isinstance(cause, RepositoryNotFoundError | HFValidationError):
        return ModelError(
            f"the hub has no {asked.name}, or it is private: correct {asked.key}, or log in with 'hf auth login'"
        )
    if isinstance(cause, LocalEntryNotFoundError):
        return None  # what led to it says more
    if isinstance(cause, EntryNotFoundError):
        return _other(asked)(f"{asked.name} lacks a file that it should have ({said(cause)}): correct {asked.key}")
    if isinstance(cause, HfHubHTTPError) and cause.response is not None:
        return _by_status(cause, asked)
    if isinstance(cause, HTTPError | ConnectionError | TimeoutError):
        return EnvironmentFault(f"the hub cannot be reached for {asked.name} (no network?): {asked.instead}")
    return None


def _by_status(error: HfHubHTTPError, asked: Asked) -> RecipeError:
    status = error.response.status_code
    if status == 429:
        wait = error.response.headers.get("Retry-After", "")
        when = f"in {wait} seconds" if wait.isdigit() else "in some minutes"
        return EnvironmentFault(
            f"the hub limits the rate of requests (429) for {asked.name}: try again {when}, "
            "or log in with 'hf auth login' for a higher limit"
        )
    if status >= 500:
        return EnvironmentFault(
            f"the hub is out of order ({status}) for {asked.name}: try again later; {asked.instead}"
        )
    if status in (401, 403):
        return ModelError(f"the hub refuses {asked.name} ({status}): log in with 'hf auth login'")
    revision = asked.key.removesuffix("id") + "revision"
    return _other(asked)(f"the hub answers {status} for {asked.name}: check {asked.key} and {revision}")


def _other(asked: Asked) -> type[RecipeError]:
    return ModelError if asked.kind == "model" else DataError
