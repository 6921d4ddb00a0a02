"""The lock on a run's folder: held by the kernel, so that it ends with the process, however that ends."""

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.errors import EnvironmentFault
from runner.outputs.files import faults
from runner.shown import shown

if sys.platform == "win32":
    import msvcrt

    def _take(handle: int) -> None:
        os.lseek(handle, 1 << 30, os.SEEK_SET)  # past the text, which others may then read
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


_BUSY = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK}
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}  # some network file systems
_TRIES, _PAUSE_S = 5, 0.02  # another process may look at the lock for an instant


@dataclass(frozen=True)
class Held:
    """A lock that this process holds; `notice` says so when a process that died had left it behind."""

    path: Path
    handle: int
    notice: str | None

    def is_there(self) -> bool:
        """Whether the file that is held still lies at its path: not, when the folder was removed or made anew."""
        try:
            return os.path.samestat(os.fstat(self.handle), self.path.stat())
        except OSError:
            return False


@contextmanager
def hold(path: Path) -> Iterator[Held]:
    """Hold the lock file `path`.

    The file says who holds it: pid, host and since when. It is emptied, not removed, at the end: removing
    would let two processes hold two files of one name.

    Raises:
        EnvironmentFault: a living process holds it, or one on another host, which nobody here can ask.
    """
    with faults(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    try:
        if not _taken(handle, path):
            raise EnvironmentFault(f"{_place(path)} is in use by {_who(_read(path))}: wait for it to end, or stop it")
        before = _read(path)
        host = socket.gethostname()
        if before and before.get("host") != host:
            raise EnvironmentFault(
                f"{_place(path)} is in use by {_who(before)}: if that run is over, delete {shown(path, 1000)}"
            )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            with faults(path):
                _write(handle, json.dumps({"pid": os.getpid(), "host": host, "since": now}))
            notice = f"took over the lock of {_who(before)}, which ended without letting go" if before else None
            yield Held(path, handle, notice)
        finally:
            with suppress(OSError):  # the work that met a broken disk tells of it; the process lets go anyway
                _write(handle, "")
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a living process, this one included, holds the lock file, or one on another host claims to."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return (
            not _taken(handle, path, tries=1) or _read(path).get("host", socket.gethostname()) != socket.gethostname()
        )
    finally:
        os.close(handle)


def _taken(handle: int, path: Path, tries: int = _TRIES) -> bool:
    for left in reversed(range(tries)):
        try:
            _take(handle)
            return True
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return not _alive(_read(path))
            if error.errno not in _BUSY:
                with faults(path, "lock"):
                    raise
        if left:
            time.sleep(_PAUSE_S)
    return False


def _alive(holder: dict[str, Any]) -> bool:
    """Whether the process that the file names runs: second best, where the file system has no locks."""
    import psutil

    pid = holder.get("pid")
    return isinstance(pid, int) and pid != os.getpid() and psutil.pid_exists(pid)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(handle: int, text: str) -> None:
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, text.encode())


def _who(holder: dict[str, Any]) -> str:
    pid, host, since = (shown(holder.get(key, "?"), 100) for key in ("pid", "host", "since"))
    return f"process {pid} on {host} since {since}"


def _place(path: Path) -> str:
    return shown(path.parent, 1000)
