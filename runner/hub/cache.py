"""What the hub's own cache holds of a model; nothing here asks the network."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from runner.hub.faults import Asked
from runner.outputs.files import write_bytes

_LONGEST = 255  # letters of a revision: longer than any file's name


def storage(id: str) -> Path:
    """The folder of a model in the cache, with its blobs, refs and snapshots; it may not be there."""
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=id, repo_type="model")


def snapshot(asked: Asked) -> Path | None:
    """The newest folder of what was downloaded of a model before; None where there is nothing of that revision.

    Without a revision the main branch counts as it was known last, else the commit that was fetched last.
    """
    folder = storage(asked.id)
    revision = asked.revision or constants.DEFAULT_REVISION
    if ".." in revision.split("/") or len(revision) > _LONGEST:
        return None
    found = folder / "snapshots" / revision
    if not found.is_dir():
        ref = folder / "refs" / revision
        found = folder / "snapshots" / (ref.read_text("utf-8").strip() if ref.is_file() else revision)
    if found.is_dir():
        return found
    others = (path for path in (folder / "snapshots").glob("*") if path.is_dir()) if asked.revision is None else ()
    return max(others, key=lambda path: path.stat().st_mtime_ns, default=None)


def note_revision(asked: Asked, commit: str) -> None:
    """Write down what the asked revision means now, so that later runs find it offline."""
    revision = asked.revision or constants.DEFAULT_REVISION
    if revision != commit and ".." not in revision.split("/"):
        ref = storage(asked.id) / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(ref, commit.encode())
