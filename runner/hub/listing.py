"""A model's repository on the hub: its files at one commit, and small ones read without keeping them."""

from __future__ import annotations

from typing import NamedTuple

from huggingface_hub import HfApi, get_session, hf_hub_url
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

from runner.hub.faults import Asked, reading
from runner.hub.quiet import quiet

_TIMEOUT = 15.0  # seconds for the hub's first answer


class Entry(NamedTuple):
    """A file of a repository: its bytes, and the sha256 of one that git keeps apart (LFS), as all weights are."""

    size: int | None
    sha256: str | None


def listing(asked: Asked) -> tuple[str, dict[str, Entry]]:
    """The commit that the asked revision of a model names now, and its files by name.

    Raises:
        ModelError: unknown, private, gated or disabled, or no such revision.
        EnvironmentFault: the hub cannot be reached, limits the rate, or is out of order.
    """
    quiet()
    with reading(asked):
        info = HfApi().model_info(asked.id, revision=asked.revision, files_metadata=True, timeout=_TIMEOUT)
    found = {}
    for file in info.siblings or []:
        size, sha256 = (file.lfs.size, file.lfs.sha256) if file.lfs else (file.size, None)
        if not {"", ".", ".."} & set(file.rfilename.replace("\\", "/").split("/")):  # never a path out of the cache
            found[file.rfilename] = Entry(size, sha256)
    return str(info.sha), found


def read(asked: Asked, commit: str, name: str, most: int) -> bytes:
    """The first `most` bytes of a model's file, read into memory: nothing of it stays on this machine.

    Raises:
        As `listing`.
    """
    url = hf_hub_url(asked.id, name, revision=commit)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity", "Range": f"bytes=0-{most - 1}"}
    data = bytearray()
    with reading(asked), get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT) as answer:
        hf_raise_for_status(answer)
        for chunk in answer.iter_bytes():
            data += chunk
            if len(data) >= most:
                break  # a server that knows no ranges would send all
    return bytes(data[:most])
