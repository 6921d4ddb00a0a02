"""run.json: what ran where, with which versions, for how long, and how it ended."""

import importlib.metadata
import json
import os
import platform
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.language.diff import differences

_BRANCH = re.compile(r"refs/[^\0]+")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_STATES = ("running", "done", "interrupted", "failed")
_PACKAGES = (
    "recipe",
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "datasets",
    "huggingface_hub",
    "peft",
    "numpy",
    "pillow",
)


class Record:
    """run.json of one run: `state`, `exit_code`, and an entry of `sessions` each time it starts or goes on."""

    def __init__(self, path: Path, write_json: Callable[[str, object], Path]) -> None:
        self._path, self._write_json = path, write_json

    def read(self) -> dict[str, Any]:
        """The record so far; empty for a new run, or where the file is damaged."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if _is_record(found) else {}

    @property
    def lost(self) -> bool:
        """Whether it tells nothing of a run that has left something: it is damaged, or missing beside checkpoints."""
        left = self._path.is_file() or (self._path.parent / "checkpoints").is_dir()
        return left and not self.read()

    @property
    def state(self) -> str:
        """As written: `new` (nothing yet), `running`, `done`, `interrupted`, `failed`."""
        return str(self.read().get("state", "new"))

    def begin(self, asked: dict[str, Any], settled: dict[str, Any]) -> None:
        """The run starts, or goes on, here and now; what it settles otherwise than before is the session's `changes`.

        Args:
            asked: what the recipe asks for, equal for recipes that ask for the same work.
            settled: its values, settled.
        """
        before = self.read()
        session: dict[str, Any] = {
            "started": _now(),
            "finished": None,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "processes": settled.get("compute", {}).get("processes", 1),
            "hardware": hardware(settled.get("compute", {}).get("device")),
            "system": f"{platform.system()} {platform.release()}",  # platform.platform() would start a process
            "python": platform.python_version(),
            "versions": versions(),
            "git_commit": git_commit(Path.cwd()),
            "timings": {},
        }
        changes = {key: [a, b] for key, a, b in differences(before.get("settled", settled), settled)}
        if changes:
            session["changes"] = changes
        sessions = [*before.get("sessions", []), session]
        self._write({"state": "running", "exit_code": None, "sessions": sessions, "asked": asked, "settled": settled})

    def note_change(self, key: str, what: str) -> None:
        """Something else that is not as it was when the run began, among this session's `changes`."""
        record = self.read()
        for session in record.get("sessions", [])[-1:]:
            session.setdefault("changes", {})[key] = what
        self._write(record)

    def end(self, exit_code: int, message: str) -> None:
        """The run is over: `done` (0), `interrupted` (128 and up, by a signal) or `failed`; `message` says why."""
        state = "done" if exit_code == 0 else "interrupted" if exit_code >= 128 else "failed"
        outcome = {"state": state, "exit_code": exit_code, "message": message}
        record = self.read()
        for session in record.get("sessions", [])[-1:]:
            session.update(finished=_now(), **outcome)
        self._write({**record, **outcome})

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds spent inside to this session's timings of `stage`, however it ends."""
        began = time.monotonic()
        try:
            yield
        finally:
            record = self.read()
            for session in record.get("sessions", [])[-1:]:
                spent = session["timings"].get(stage, 0.0) + time.monotonic() - began
                session["timings"][stage] = round(spent, 2)
            self._write(record)

    def _write(self, record: dict[str, Any]) -> None:
        self._write_json(self._path.name, record)


def _is_record(found: Any) -> bool:
    """Whether it has the form in which records are written; people edit them."""
    if not isinstance(found, dict) or found.get("state") not in _STATES:
        return False
    sessions, code = found.get("sessions"), found.get("exit_code")
    if not isinstance(sessions, list) or not (code is None or isinstance(code, int)):
        return False
    return all(isinstance(session, dict) and isinstance(session.get("timings"), dict) for session in sessions)


def versions() -> dict[str, str]:
    """The installed versions of what decides a picture, from the packages' metadata."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware(device: str | None) -> str:
    """What a `compute.device` is: the GPU for cuda, else the processor: "NVIDIA H100", "x86_64, 2 cores"."""
    torch = sys.modules.get("torch")
    if device == "cuda" and torch is not None:
        return str(torch.cuda.get_device_name())
    return f"{platform.machine()}, {os.cpu_count()} cores"


def git_commit(folder: Path) -> str | None:
    """The commit checked out in the repository that `folder` lies in, read from its files; None where there is none."""
    home = next((place / ".git" for place in (folder, *folder.parents) if (place / ".git").exists()), None)
    if home is None:
        return None
    try:
        if home.is_file():  # a worktree or a submodule: "gitdir: PATH"
            home = home.parent / home.read_text("utf-8").removeprefix("gitdir:").strip()
        shared = home / "commondir"
        common = home / shared.read_text("utf-8").strip() if shared.is_file() else home
        head = (home / "HEAD").read_text("utf-8").strip()
        commit = head if not head.startswith("ref:") else _referred(head.removeprefix("ref:").strip(), home, common)
    except (OSError, ValueError):
        return None
    return commit if commit is not None and _COMMIT.fullmatch(commit) else None


def _referred(name: str, home: Path, common: Path) -> str | None:
    """What a branch refers to: in a file of its own, or packed with others as lines 'COMMIT NAME'."""
    if not _BRANCH.fullmatch(name) or ".." in name:
        return None
    for place in (home, common):
        if (place / name).is_file():
            return (place / name).read_text("utf-8").strip()
    packed = [line.split() for line in (common / "packed-refs").read_text("utf-8").splitlines()]
    return next((words[0] for words in packed if words[1:] == [name]), None)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
