"""Folders of the cache that appear whole or not at all: made under a temporary name, renamed when they are done."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from runner.errors import EnvironmentFault
from runner.outputs.files import sync_folder
from runner.shown import shown

if TYPE_CHECKING:
    from runner.processes.world import World
    from runner.progress import Progress

S = TypeVar("S")
T = TypeVar("T")

_PREFIX = ".tmp-"
_STALE = 24 * 3600  # seconds after which a temporary folder that nobody writes to is taken for abandoned


def begin(root: Path) -> Path:
    """A new temporary folder below `root`; what runs that were killed left there is removed."""
    root.mkdir(parents=True, exist_ok=True)
    _sweep(root)
    draft = root / f"{_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    draft.mkdir()
    return draft


def finish(draft: Path, target: Path, is_whole: Callable[[Path], bool]) -> None:
    """The draft becomes `target`; one that another run made meanwhile stays if it is whole."""
    try:
        draft.rename(target)
    except OSError:
        if is_whole(target):
            return
        if target.exists():
            _rename(target)
        draft.rename(target)
    sync_folder(target.parent)


def damaged(folder: Path, what: str) -> EnvironmentFault:
    """The error of a folder found damaged while it is used, which is put out of the way."""
    with suppress(OSError):  # another process did it, or it may not be: then the next run finds the damage too
        _rename(folder)
    return EnvironmentFault(
        f"the cache in {shown(folder, 1000)} is damaged ({what} changed on the disk): it is put out of the way, "
        "and the same command makes it anew"
    )


def _rename(folder: Path) -> None:
    folder.rename(folder.parent / f"{_PREFIX}damaged-{uuid.uuid4().hex[:8]}")


def opened(open_store: Callable[[Path], S | None], folder: Path, progress: Progress) -> S | None:
    """The store in `folder`; None where there is none, or, after a warning, where it is damaged."""
    store = open_store(folder)
    if store is None and folder.is_dir():
        progress.warn(f"the cache in {shown(folder, 1000)} is damaged, or of another version: it is made anew")
    return store


def made_by_all(
    folder: Path,
    open_store: Callable[[Path], S | None],
    make: Callable[[], Iterator[T]],
    write: Callable[[Iterator[T]], S],
    progress: Progress,
    world: World,
) -> S:
    """The store in `folder`; where there is none, all processes make what is in it, and the main one writes it.

    Args:
        make: what there is to write, which comes to the main process only (see `World.gathered`).
        write: the whole store of it.

    Raises:
        EnvironmentFault: another process cannot read what was written.
    """
    store = opened(open_store, folder, progress) if world.main else None
    if world.tell(store is None):
        things = make()
        store = write(things) if world.main else None
        for _ in things:  # elsewhere: all is handed on, and nothing comes back
            pass
    world.wait()
    store = store or open_store(folder)
    if store is None:
        raise EnvironmentFault(
            f"the cache in {shown(folder.parent, 1000)} was written by another process of this run, which this one "
            "cannot see: choose a folder that all machines share with --cache-dir"
        )
    return store


@contextmanager
def writing(root: Path, what: str = "cache") -> Iterator[None]:
    """Turns a disk that refuses into a sentence.

    Raises:
        EnvironmentFault: it names `what` and the mend.
    """
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"the {what} cannot be written in {shown(root, 1000)} ({error.strerror or error}): "
            "free some space there, or choose another folder with --cache-dir"
        ) from error


def _sweep(root: Path) -> None:
    for folder in root.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if "damaged" in folder.name or time.time() - newest > _STALE:
                shutil.rmtree(folder, ignore_errors=True)
