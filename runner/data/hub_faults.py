"""What the hub's libraries raise, as one sentence each with the right exit code."""

from __future__ import annotations

from collections.abc import Iterator

from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is httpx's, whichever it uses
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from runner.errors import DataError, EnvironmentFault, ModelError, RecipeError
from runner.shown import shown

_INSTEAD = (
    "--smoke rehearses this recipe without it, data.type=folder data.id=… takes a folder of your own, "
    "and 'recipe run quickstart' needs no network at all"
)


def fault(error: Exception, id: str, revision: str | None) -> RecipeError:
    """The fault to raise for `error`, met while reading data set `id` of the hub.

    Returns:
        ModelError (the exit code for hub ids): unknown, private, gated, disabled, no such revision.
        EnvironmentFault: the hub cannot be reached, limits the rate, or is out of order.
        DataError: anything else, with the first line of what was raised.
    """
    name = shown(id)
    for cause in _chain(error):
        if isinstance(cause, RecipeError):
            return cause
        if isinstance(cause, OfflineModeIsEnabled):
            return EnvironmentFault(f"data set {name} is not on this machine and the hub is switched off: {_INSTEAD}")
        if isinstance(cause, GatedRepoError):
            return ModelError(
                f"data set {name} is gated: ask for access on https://huggingface.co/datasets/{name}, "
                "then log in with 'hf auth login'"
            )
        if isinstance(cause, DisabledRepoError):
            return ModelError(f"data set {name} is disabled on the hub: choose another")
        if isinstance(cause, RevisionNotFoundError):
            return ModelError(f"data set {name} has no revision '{shown(revision)}': correct data.revision")
        if isinstance(cause, RepositoryNotFoundError | HFValidationError):
            return ModelError(
                f"the hub has no data set {name}, or it is private: correct data.id, or log in with 'hf auth login'"
            )
        if isinstance(cause, HfHubHTTPError) and cause.response is not None:
            return _by_status(cause, name)
        if isinstance(cause, HTTPError | ConnectionError | TimeoutError):
            return EnvironmentFault(f"the hub cannot be reached for data set {name} (no network?): {_INSTEAD}")
    if isinstance(error, LocalEntryNotFoundError):
        return EnvironmentFault(f"data set {name} is not on this machine, or only in part: {_INSTEAD}")
    if isinstance(error, OSError) and error.errno is not None:
        return EnvironmentFault(
            f"data set {name} cannot be stored in the hub's own cache ({error.strerror}): see HF_HOME"
        )
    return DataError(
        f"data set {name} cannot be read ({type(error).__name__}: {shown(str(error).strip().split(chr(10))[0])})"
    )


def _by_status(error: HfHubHTTPError, name: str) -> RecipeError:
    status = error.response.status_code
    if status == 429:
        wait = error.response.headers.get("Retry-After", "")
        when = f"in {wait} seconds" if wait.isdigit() else "in some minutes"
        return EnvironmentFault(
            f"the hub limits the rate of requests (429) for data set {name}: try again {when}, "
            "or log in with 'hf auth login' for a higher limit"
        )
    if status >= 500:
        return EnvironmentFault(f"the hub is out of order ({status}) for data set {name}: try again later; {_INSTEAD}")
    if status in (401, 403):
        return ModelError(f"the hub refuses data set {name} ({status}): log in with 'hf auth login'")
    return DataError(f"the hub answers {status} for data set {name}: check data.id and data.revision")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and what led to it, outermost first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
