"""Downloads into the hub's own cache: exactly the named files, going on where the last one stopped, checked."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from hashlib import file_digest
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING

from huggingface_hub import constants, get_session, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    WeakFileLock,
    build_hf_headers,
    hf_raise_for_status,
)

from runner.errors import EnvironmentFault, ModelError
from runner.hub.cache import note_revision, storage
from runner.hub.faults import Asked, reading
from runner.hub.listing import Entry
from runner.hub.quiet import quiet
from runner.hub.verify import note_whole
from runner.shown import shown
from runner.tally import gibibytes

if TYPE_CHECKING:
    from runner.progress import Progress

_AT_ONCE = 4  # files
_CHUNK = 2**20
_TRIES = 3  # in a row that bring nothing, before a download counts as stopped
_PAUSE = 1.0  # seconds between them


def download(asked: Asked, commit: str, entries: Mapping[str, Entry], progress: Progress) -> None:
    """Bring these files of a model at `commit` into the hub's cache, several at a time, with one bar of bytes.

    Raises:
        EnvironmentFault: no room on the disk; the hub goes away: what came stays, and the next call goes on from it.
        ModelError: what came is not what the hub lists.
    """
    quiet()
    total = sum(entry.size or 0 for entry in entries.values())
    here = sum(_came(asked, entry) for entry in entries.values())
    _check_room(asked, total - here)
    stop, lock = Event(), Lock()
    with (
        reading(asked),
        progress.bar(f"Downloading {shown(asked.id)}", total, unit="byte", start=here) as bar,
        ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="download") as pool,
    ):

        def moved(count: int) -> None:
            if stop.is_set():
                raise EnvironmentFault(f"the download of {asked.name} was stopped: run again, it goes on from there")
            with lock:
                bar.advance(count)

        waiting = [pool.submit(_fetch, asked, commit, name, entry, moved) for name, entry in entries.items()]
        try:
            for done in as_completed(waiting):
                done.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        note_revision(asked, commit)


def _fetch(asked: Asked, commit: str, name: str, entry: Entry, moved: Callable[[int], None]) -> None:
    """One file, and its link in the snapshot."""
    link = storage(asked.id) / "snapshots" / commit / name
    if _size(link) != entry.size:  # a file of another size is damaged
        link.unlink(missing_ok=True)
    if entry.sha256 is None:
        path = Path(hf_hub_download(asked.id, name, revision=commit, force_download=True))
        moved(path.stat().st_size)
    else:
        locks = Path(constants.HF_HUB_CACHE) / ".locks" / storage(asked.id).name
        locks.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(locks / f"{entry.sha256}.lock"):  # the lock of huggingface_hub itself
            _large(asked, commit, name, entry, moved)
        path = Path(hf_hub_download(asked.id, name, revision=commit))
        note_whole(path)
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        raise ModelError(
            f"{shown(name)} of {asked.name} came with {size:,} bytes and the hub lists {entry.size:,}: run again"
        )


def _large(asked: Asked, commit: str, name: str, entry: Entry, moved: Callable[[int], None]) -> None:
    """A file that git keeps apart, into the cache's blob of that sha256."""
    blob, part = _blob(asked, entry), _part(asked, entry)
    if blob.is_file() and blob.stat().st_size == entry.size:
        if _sha256(blob) == entry.sha256:
            return  # another process has brought it, or another file is the same
        moved(-_size(blob))
        blob.unlink()
    blob.parent.mkdir(parents=True, exist_ok=True)
    tries = 0
    while (size := _size(part)) < (entry.size or 0):
        try:
            _go_on(hf_hub_url(asked.id, name, revision=commit), part, moved)
        except HfHubHTTPError:
            raise
        except HTTPError as error:
            tries = tries + 1 if _size(part) == size else 0
            if tries == _TRIES:
                of = f"{gibibytes(size)} of {gibibytes(entry.size or 0)}"
                raise EnvironmentFault(
                    f"the download of {shown(name)} of {asked.name} stopped at {of}: run again, it goes on from there"
                ) from error
            time.sleep(_PAUSE)
    if _sha256(part) != entry.sha256:
        part.unlink()
        raise ModelError(
            f"{shown(name)} of {asked.name} came damaged (its sha256 is not the one that the hub lists): run again"
        )
    part.replace(blob)


def _go_on(url: str, part: Path, moved: Callable[[int], None]) -> None:
    """Append to `part` what is still to come of the file at `url`."""
    size = _size(part)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if size:
        headers["Range"] = f"bytes={size}-"
    with get_session().stream("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as answer:
        hf_raise_for_status(answer)
        fresh = answer.status_code != 206  # a server that knows no ranges sends all again
        if fresh:
            moved(-size)
        with part.open("wb" if fresh else "ab") as file:
            for chunk in answer.iter_bytes(_CHUNK):
                file.write(chunk)
                moved(len(chunk))


def _check_room(asked: Asked, needed: int) -> None:
    place = Path(constants.HF_HUB_CACHE)
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise EnvironmentFault(
            f"{asked.name} needs {gibibytes(needed)} and the disk of the hub's cache has {gibibytes(free)} left: "
            "make room, or set HF_HOME to another disk"
        )


def _blob(asked: Asked, entry: Entry) -> Path:
    return storage(asked.id) / "blobs" / str(entry.sha256)


def _part(asked: Asked, entry: Entry) -> Path:
    return storage(asked.id) / "blobs" / f"{entry.sha256}.incomplete"


def _came(asked: Asked, entry: Entry) -> int:
    """The bytes of a file that earlier downloads brought."""
    if entry.sha256 is None:
        return 0
    size = _size(_blob(asked, entry))
    return size if size == entry.size else _size(_part(asked, entry))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
