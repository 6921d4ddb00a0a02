"""Files and folders written whole or not at all, and the sentences for a disk that refuses."""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runner.errors import EnvironmentFault
from runner.shown import shown

_REASONS = {
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "something with that name is in the way",
    errno.EISDIR: "a folder is in the way",
    errno.ENOENT: "the folder is gone",
    errno.ENAMETOOLONG: "the path is too long",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than the file system allows",
    errno.EIO: "the disk reports an error",
}
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def faults(path: Path, doing: str = "write") -> Iterator[None]:
    """Turn an OSError inside into one sentence about `path`.

    Raises:
        EnvironmentFault: "cannot write PATH: REASON; MEND".
    """
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(f"cannot {doing} {shown(path, 1000)}: {_reason(error, path)}") from error


def _reason(error: OSError, path: Path) -> str:
    if error.errno == errno.ENOSPC:
        return f"the disk is full ({_free(path)} free); free some space and run the same command again"
    reason = _REASONS.get(error.errno or 0) or shown(error.strerror or error)
    mend = "free some space" if error.errno in _FULL else "mend that, or choose another folder with --output-dir"
    return f"{reason}; {mend}"


def _free(path: Path) -> str:
    for folder in path.parents:
        with suppress(OSError):
            return f"{shutil.disk_usage(folder).free / 2**30:.1f} GiB"
    return "nothing"


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`.

    Raises:
        EnvironmentFault: the disk refuses; `path` is then as it was before.
    """
    with faults(path):
        replace_file(path, data)


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """The name of a folder to be made in the block, which then becomes `final`, in place of an older one.

    Raises:
        EnvironmentFault: the disk refuses; `final` is then as it was before.
    """
    from safetensors import SafetensorError

    draft = final.with_name(f".tmp-{final.name}")
    with faults(final):
        shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed here
        try:
            yield draft
            replace_folder(draft, final)
        except SafetensorError as error:  # its own class for what the system refused: '… (os error 28)'
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` to `path`: a temporary file in the same folder, fsync, rename, fsync of the folder.

    Raises:
        OSError: the disk refuses; `path` is then as it was before.
    """
    scratch = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        with scratch.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError:
        with suppress(OSError):
            scratch.unlink()
        raise
    sync_folder(path.parent)


def replace_folder(draft: Path, final: Path) -> None:
    """Let `draft`, which lies beside `final`, become it: fsync of all in it, rename, fsync of the parent.

    An older `final` is moved away just before and removed after.

    Raises:
        OSError: the disk refuses.
    """
    sync_tree(draft)
    older = final.with_name(f".tmp-older-{final.name}")
    shutil.rmtree(older, ignore_errors=True)
    if final.exists():
        final.rename(older)
    draft.rename(final)
    sync_folder(final.parent)
    shutil.rmtree(older, ignore_errors=True)


def sync_tree(folder: Path) -> None:
    """Make all files in `folder`, and their names, outlive a power cut.

    Raises:
        OSError: the disk refuses.
    """
    for path in (*folder.rglob("*"), folder):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` outlive a power cut, where the system can."""
    with suppress(OSError):  # not every file system, and not Windows, can sync a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
