"""A run's folder, outputs/<name>/<NNN>/: made without races, locked while in use, its files whole or absent."""

import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import DataError, EnvironmentFault, Refused, UsageError
from runner.outputs import lock, log
from runner.outputs.files import faults, sync_folder, write_bytes
from runner.outputs.leftovers import set_aside, sweep
from runner.outputs.record import Record
from runner.secrets import hidden, redact
from runner.shown import shown

if TYPE_CHECKING:
    from PIL.Image import Image

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?|.*\.")  # what Windows cannot store
_NUMBER = re.compile(r"[0-9]{3,}")
_LATEST = "latest"
_NOT_THE_RECIPES_FAULT = {DataError.exit_code, EnvironmentFault.exit_code, 70}


class RunFolder:
    """One run's folder. Names of the files in it are relative with forward slashes: "samples/step-000500.png"."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = Record(path / "run.json", self.write_json)
        self._held: lock.Held | None = None

    @classmethod
    def create(cls, output_dir: Path, name: str) -> "RunFolder":
        """Make the next free folder of `name`, to which `latest` then points.

        Raises:
            Refused: `name` is no plain name, or its folder is a link.
            EnvironmentFault: the disk refuses.
        """
        home = _home(output_dir, name)
        with faults(home):
            home.mkdir(parents=True, exist_ok=True)
        number = max(_numbers(home), default=0) + 1
        while not _made(home / f"{number:03}"):  # another run was faster
            number += 1
        sync_folder(home)
        _point_latest(home)
        return cls(home / f"{number:03}")

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """The run at `path`: .../<NNN> or .../latest.

        Raises:
            UsageError: there is no run.
        """
        if path.name == _LATEST:
            path = path.with_name(_pointed(path) or _LATEST)
        if not (_NUMBER.fullmatch(path.name) and path.is_dir()):
            raise UsageError(
                f"{shown(path, 1000)} is not the folder of a run: give outputs/NAME/001 or outputs/NAME/latest"
            )
        return cls(path)

    @contextmanager
    def lock(self) -> Iterator[str | None]:
        """Hold this folder: `with folder.lock() as notice`, a notice when a dead process had left its lock behind.

        Raises:
            EnvironmentFault: another process works in it; says which.
        """
        with lock.hold(self.path / "lock") as self._held:
            try:
                yield self._held.notice
            finally:
                self._held = None

    @property
    def state(self) -> str:
        """`new`, `running`, `done`, `interrupted` or `failed`: a run that died without a word is interrupted."""
        state = self.record.state
        return "interrupted" if state == "running" and not lock.is_held(self.path / "lock") else state

    @property
    def can_go_on(self) -> bool:
        """Whether the same command goes on with this run: it was cut off, or the machine or the data failed it."""
        return self.state == "interrupted" or (
            self.state == "failed" and self.record.read().get("exit_code") in _NOT_THE_RECIPES_FAULT
        )

    def begin(self, *, given: str, text: str, asked: dict[str, Any], settled: dict[str, Any]) -> None:
        """Write recipe.yaml, unless an earlier session did, and settled.yaml, and open the session in run.json.

        Drafts that a killed process left are removed.

        Args:
            given: the recipe as it was given.
            text: of the settled recipe.
            asked: what the recipe asks for, to be compared with others.
            settled: its values, settled.
        """
        sweep(self.path)
        if not (self.path / "recipe.yaml").exists():
            self.write_text("recipe.yaml", given)
        self.write_text("settled.yaml", text)
        self.record.begin(asked, settled)

    def set_aside(self) -> tuple[str, list[str]]:
        """Move what the run made at its end into a folder of its own: the folder's name, and what was moved."""
        name = f"before-{len(self.record.read().get('sessions', [])) + 1}"
        return name, set_aside(self.path, name)

    def end(self, exit_code: int, message: str) -> None:
        """Close the session in run.json."""
        self.record.end(exit_code, message)

    def file(self, name: str) -> Path:
        """The path of the file `name`, whose folder is made.

        Raises:
            Refused: the path leaves this folder, by its text or by a link in it.
            EnvironmentFault: the folder was removed, also where another run has made one of its name since.
        """
        if not (self._held.is_there() if self._held else self.path.is_dir()):
            raise EnvironmentFault(
                f"the run's folder {shown(self.path, 1000)} is gone, removed with its lock while the run worked in it: "
                "run the recipe again"
            )
        path = self.path / name
        root = self.path.resolve()
        if not path.parent.resolve().is_relative_to(root) or path.is_symlink() or path.resolve() == root:
            raise Refused(f"{shown(path, 1000)} leads out of the run's folder: remove that link or use another name")
        with faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_bytes(self, name: str, data: bytes) -> Path:
        """Write a whole file or none."""
        path = self.file(name)
        write_bytes(path, data)
        return path

    def write_text(self, name: str, text: str) -> Path:
        """Write a whole UTF-8 file or none, with the line ends as given, without secrets.

        Bytes of paths that are no UTF-8 become escapes, which YAML and JSON read as what they were.
        """
        return self.write_bytes(name, redact(text).encode("utf-8", "backslashreplace"))

    def write_json(self, name: str, value: object) -> Path:
        """Write a whole JSON file or none, without secrets in its texts."""
        text = json.dumps(hidden(log.plain(value)), indent=2, ensure_ascii=False) + "\n"
        return self.write_bytes(name, text.encode("utf-8", "backslashreplace"))

    def save_image(self, name: str, image: "Image", text_chunks: Mapping[str, str]) -> Path:
        """Write a PNG that carries `text_chunks` (`recipe`, `seed`, …)."""
        from runner.outputs import png

        return self.write_bytes(name, png.encode(image, text_chunks))

    def append_log(self, entry: Mapping[str, Any]) -> None:
        """Add one line to log.jsonl."""
        log.append(self.file("log.jsonl"), entry)

    def read_log(self) -> list[dict[str, Any]]:
        """The whole lines of log.jsonl."""
        return log.read(self.path / "log.jsonl")

    def trim_log(self, step: int) -> None:
        """Take log.jsonl back to `step`."""
        log.trim(self.file("log.jsonl"), step)


def find(output_dir: Path, name: str) -> list[RunFolder]:
    """The runs of `name`, newest first.

    Raises:
        Refused: as `RunFolder.create`.
    """
    home = _home(output_dir, name)
    return [RunFolder(home / f"{number:03}") for number in sorted(_numbers(home), reverse=True)]


def newest(output_dir: Path, name: str) -> RunFolder | None:
    """The newest run of `name`, if there is one."""
    return next(iter(find(output_dir, name)), None)


def _home(output_dir: Path, name: str) -> Path:
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name):
        raise Refused(f"{shown(name)!r} cannot name a folder: use small letters, digits, '.', '_' and '-'")
    home = output_dir / name
    if home.is_symlink():
        target = shown(home.readlink(), 1000)
        raise Refused(f"{shown(home, 1000)} is a link to {target}: remove it, or name that place with --output-dir")
    return home


def _numbers(home: Path) -> list[int]:
    try:
        entries = list(os.scandir(home))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError:
        with faults(home, "read"):
            raise
    return [
        int(entry.name) for entry in entries if _NUMBER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
    ]


def _made(path: Path) -> bool:
    with faults(path):
        try:
            path.mkdir()
        except FileExistsError:
            return False
    return True


def _point_latest(home: Path) -> None:
    """Let `latest` lead to the newest run: a relative link, or latest.txt where there are no links.

    Looks again afterwards, since a run that started later may have pointed earlier.
    """
    pointed = ""
    while pointed != (newest := f"{max(_numbers(home)):03}"):
        pointed = newest
        scratch = home / f".tmp-{uuid.uuid4().hex}"
        try:
            scratch.symlink_to(pointed, target_is_directory=True)
            scratch.replace(home / _LATEST)
        except (OSError, NotImplementedError):
            with suppress(OSError):
                scratch.unlink()
            write_bytes(home / f"{_LATEST}.txt", f"{pointed}\n".encode())


def _pointed(latest: Path) -> str | None:
    """The name of the run that `latest` or latest.txt stands for."""
    beside = latest.with_name(f"{_LATEST}.txt")
    if latest.is_symlink():
        return latest.readlink().name
    return Path(beside.read_text(encoding="utf-8").strip()).name if beside.is_file() else None
