"""Rules of ids and files: what names a model, its parts and what is laid over it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.language.view import Rule, Told, View, rule
from runner.shown import shown

_URL = re.compile(r"^([a-z][a-z0-9+.-]+://|data:|git\+|//|\\\\)", re.IGNORECASE)  # the last two: \\host of Windows
_PICKLES = (".ckpt", ".pt", ".bin", ".pth")
_SINGLE = (".safetensors", *_PICKLES)


def _models(view: View) -> list[str]:
    """The sections that name weights by an `id`."""
    lists = [*view.entries("model.embeddings"), *view.entries("model.loras")]
    return ["model", "model.vae", *lists, "sampling.refiner"]


def _ids(view: View) -> list[str]:
    data = [f"{section}.id" for section in ("data", *view.entries("data.sources"), "data.caption")]
    return [*data, "model.config", *(f"{section}.id" for section in _models(view))]


def _inside(view: View) -> list[str]:
    """The keys that name something inside a repository or folder."""
    return [f"{section}.{key}" for section in _models(view) for key in ("file", "subfolder")]


@rule("refused")
def ids_are_no_urls(view: View) -> Iterator[Told]:
    for path in _ids(view):
        value = view.get(path)
        if isinstance(value, str) and _URL.match(value):
            yield Told(path, f"{_name(path)}: URLs are refused: give owner/name on the hub, or a path on this machine")
    lists = [f"{section}.metadata_file" for section in ("data", *view.entries("data.sources"))]
    for path in ("sampling.init_image", "sampling.mask_image", "sampling.prompts", *lists):
        value = view.get(path)
        if isinstance(value, str) and _URL.match(value):
            yield Told(path, f"{_name(path)}: URLs are refused: give a path on this machine")


@rule("refused")
def hub_ids_stay_on_the_hub(view: View) -> Iterator[Told]:
    """A hub id is owner/name; '..' in the middle of one belongs to no id and no honest path."""
    for path in _ids(view):
        value = view.get(path)
        if path.startswith("data.") and view.get(f"{path.removesuffix('.id')}.type") in ("folder", "builtin"):
            continue
        if isinstance(value, str) and not value.startswith((".", "/", "~")) and ".." in _parts(value):
            yield Told(
                path, f"{_name(path)}: '..' inside an id is refused: a path starts with './', '../', '/' or '~/'"
            )


@rule("refused")
def files_stay_inside(view: View) -> Iterator[Told]:
    for path in _inside(view):
        value = view.get(path)
        if isinstance(value, str) and (".." in _parts(value) or value.startswith(("/", "~", "\\")) or ":" in value):
            yield Told(
                path, f"{_name(path)}: '{shown(value, 60)}' is refused: it lies outside the repository or folder"
            )


@rule("id")
def ids_are_not_blank(view: View) -> Iterator[Told]:
    tokens = [f"{entry}.token" for entry in view.entries("model.embeddings")]
    images = ["sampling.init_image", "sampling.mask_image"]
    for path in [*_ids(view), *_inside(view), *tokens, *images]:
        value = view.get(path)
        if isinstance(value, str) and (not value.strip() or value != value.strip()):
            yield Told(path, f"{_name(path)} must not be blank or have spaces round it (got '{shown(value, 60)}')")


@rule("single-file")
def a_single_file_has_no_folders(view: View) -> Iterator[Told]:
    single = view.get("model.file") is not None or _is_single(view.get("model.id"))
    for key in ("subfolder", "variant"):
        if single and view.get(f"model.{key}") is not None:
            yield Told(f"model.{key}", f"a single file has no {key}: remove the line")


@rule("single-file")
def a_file_lies_in_a_folder(view: View) -> Iterator[Told]:
    for section in _models(view):
        file, where = view.get(f"{section}.file"), view.get(f"{section}.id")
        if isinstance(file, str) and _is_single(where):
            yield Told(f"{section}.file", f"{_name(section)}.id is a file already: remove the line 'file'")
        elif section == "model" and isinstance(file, str) and not file.lower().endswith(_SINGLE):
            yield Told("model.file", f"a single-file checkpoint ends in .safetensors (got '{shown(file, 60)}')")


@rule("single-file")
def config_describes_a_single_file(view: View) -> Iterator[Told]:
    if view.get("model.config") is None or view.get("model.file") is not None:
        return
    where = view.get("model.id")
    if isinstance(where, str) and not _is_single(where) and not _URL.match(view.get("model.config")):
        yield Told(
            "model.config",
            "config describes a single-file checkpoint, and a repository or folder describes itself: remove the line, "
            "or name the file with 'file'",
        )


@rule("pickle")
def pickles_need_a_flag(view: View) -> Iterator[Told]:
    for section in _models(view):
        for key in ("file", "id"):
            value = view.get(f"{section}.{key}")
            if isinstance(value, str) and value.lower().endswith(_PICKLES):
                yield Told(
                    f"{section}.{key}",
                    f"{_name(section)}.{key} is a pickle, which is read only with --allow-pickle on the command line; "
                    "the same weights as .safetensors need no flag",
                    "warning",
                )


@rule("token")
def tokens_are_told_apart(view: View) -> Iterator[Told]:
    seen: dict[str, str] = {}
    for entry in view.entries("model.embeddings"):
        token = view.get(f"{entry}.token")
        if token in seen:
            yield Told(
                f"{entry}.token", f"token '{shown(token, 60)}' is {_name(seen[token])}'s already: choose another"
            )
        elif token is not None:
            seen[token] = entry


def _is_single(value: object) -> bool:
    return isinstance(value, str) and value.lower().endswith(_SINGLE)


def _parts(path: str) -> list[str]:
    return re.split(r"[/\\]", path)


def _name(path: str) -> str:
    """'model.loras.0.id' as sentences have it: 'model.loras[0].id'."""
    return re.sub(r"\.(\d+)", r"[\1]", path)


RULES: list[Rule] = [
    ids_are_no_urls,
    hub_ids_stay_on_the_hub,
    files_stay_inside,
    ids_are_not_blank,
    a_single_file_has_no_folders,
    a_file_lies_in_a_folder,
    config_describes_a_single_file,
    pickles_need_a_flag,
    tokens_are_told_apart,
]
