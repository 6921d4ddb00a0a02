"""run.json: what ran where, with which versions, for how long, and how it ended."""

import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
        return found if isinstance(found, dict) else {}

    @property
    def state(self) -> str:
        """As written: `new` (nothing yet), `running`, `done`, `interrupted`, `failed`."""
        return str(self.read().get("state", "new"))

    def begin(self, identity: str) -> None:
        """The run starts, or goes on, here and now. `identity` is equal for recipes that ask for the same work."""
        session = {
            "started": _now(),
            "finished": None,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "hardware": hardware(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "versions": versions(),
            "git_commit": git_commit(Path.cwd()),
            "timings": {},
        }
        sessions = [*self.read().get("sessions", []), session]
        self._write({"state": "running", "exit_code": None, "identity": identity, "sessions": sessions})

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


def versions() -> dict[str, str]:
    """The installed versions of what decides a picture, from the packages' metadata."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> str:
    """The GPU if torch has one, else the processor: "NVIDIA H100", "x86_64, 2 cores"."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"{platform.machine()}, {os.cpu_count()} cores"


def git_commit(folder: Path) -> str | None:
    """The commit checked out in `folder`, or None: no repository, no git, no answer within five seconds."""
    command = ["git", "-C", str(folder), "rev-parse", "--verify", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
