"""What an `id` of a recipe means: a path of this machine or a name on the hub."""

from __future__ import annotations

import re
from pathlib import Path

from runner.errors import EnvironmentFault, Refused
from runner.shown import shown

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # http:, file:, hf:, data:, git+ssh: (one letter is a Windows drive)
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"  # as huggingface_hub's validate_repo_id
_HUB_ID = re.compile(rf"(?:{_NAME}/)?{_NAME}")


def as_path(id: str, folder: Path) -> Path | None:
    """The absolute path that `id` means, or None where it is a hub id.

    './x', '../x', '/x' and '~/x' are paths, relative ones to `folder`; anything else only if it exists there.

    Raises:
        Refused: a URL, a NUL byte, or an `id` that climbs ('a/../b').
        EnvironmentFault: '~' without a home folder.
    """
    if "\0" in id or _SCHEME.match(id) or id.startswith(("//", "\\\\")):  # the last: another machine's disk on Windows
        raise Refused(f"'{shown(id)}' is not allowed: an id is 'owner/name' on the hub or a local path, never a URL")
    if id in ("~", ".", "..") or id.startswith(("./", "../", "/", "~/")) or Path(id).is_absolute():
        try:
            return folder.absolute() / Path(id).expanduser()
        except RuntimeError as error:
            raise EnvironmentFault(f"'{shown(id)}' cannot be found: this user has no home folder") from error
    if ".." in re.split(r"[/\\]", id):
        raise Refused(f"'{shown(id)}' is not allowed: '..' may only stand at the start of a path")
    path = folder.absolute() / id
    try:
        return path if id and path.exists() else None
    except OSError:  # a name longer than any file's
        return None


def is_hub_id(id: str) -> bool:
    """Whether `id` has the form 'owner/name' (or an old one-word 'name') of the hub."""
    return len(id) <= 96 and "--" not in id and ".." not in id and _HUB_ID.fullmatch(id) is not None
