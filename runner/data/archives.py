"""Archives of a data set: read member by member and with a limit; nothing of one is ever unpacked to the disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from datasets import DatasetBuilder
from datasets.filesystems import EXTENSION_TO_COMPRESSION_FS_FILE_CLS as PACKED

from runner.errors import DataError
from runner.shown import shown

_LARGEST = 2**28  # bytes of one member: any picture, and no bomb
_UNREAD = {
    *("py", "pyc", "pyd", "so", "dll", "pickle", "pkl", "pth", "pt"),  # code, and what might hold some
    *("npy", "npz", "ten", "tb", "mp", "msg", "cbor"),  # arrays: neither a picture nor its text
    *(ending.removeprefix(".") for ending in PACKED),  # which would be unpacked without a limit
}


def bound(builder: DatasetBuilder) -> None:
    """Let a builder of tar or zip archives (webdataset) pass over what is no picture or text, and read no more than
    `_LARGEST` bytes of a member.

    The members' names mean nothing on this machine: links and devices among them are passed over by datasets itself.
    """
    whole = builder._get_pipeline_from_tar  # type: ignore[attr-defined]
    builder._get_pipeline_from_tar = lambda path, members: whole(path, _bounded(members))  # type: ignore[attr-defined]


def _bounded(members: Iterable[tuple[str, BinaryIO]]) -> Iterator[tuple[str, Any]]:
    for name, file in members:
        if name.rpartition(".")[2].lower() not in _UNREAD:
            yield name, _Bounded(name, file)


class _Bounded:
    """A member that is read whole, or not at all where it is too large.

    Raises:
        DataError: it is.
    """

    def __init__(self, name: str, file: BinaryIO) -> None:
        self._name, self._file = name, file

    def read(self) -> bytes:
        data = self._file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            what = f"{shown(self._name)} in an archive of the data set is of over {_LARGEST >> 20} MiB"
            raise DataError(f"{what}: use another data set")
        return data
