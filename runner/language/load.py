"""Text → data plus the line and column of every key and value.

Works on PyYAML's event stream, so that nothing is built from a tag, an alias or a merge key, and types scalars itself
by YAML 1.2's core schema. What is wrong is collected in the document, all at once where the text allows it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from runner.language.document import MOST_PROBLEMS, Document, Mark, Node, Source, Steps
from runner.language.events import CONTROL, NodeReader, Unreadable
from runner.language.syntax import complaint
from runner.language.text import decode, read_bytes
from runner.shown import shown

MOST_BYTES = 256 * 1024
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNWRITABLE = re.compile(rf"{CONTROL.pattern}|[\u2028\u2029\ufeff\ufffe\uffff]")  # what breaks lines, or is nothing
_EMPTY = (
    "the recipe is empty: it needs 'version:', 'name:' and a 'training:' or 'sampling:' section; "
    "'recipe cp quickstart mine.yaml' makes one to start from"
)


def load(path: str | Path) -> Document:
    """The recipe in a file.

    Raises:
        UsageError: there is no such file, or it cannot be read.
        Problems of the text are in the document.
    """
    path = Path(path)
    data = read_bytes(path, MOST_BYTES)
    folder = path.absolute().parent
    if len(data) > MOST_BYTES:
        return _too_large(str(path), folder, path.stat().st_size)
    text, wrong = decode(data)
    if wrong is not None:
        sentence, before = wrong
        document = Document(Source.of(str(path), text), folder)
        lines = Source.of("", before).lines
        line, column = len(lines) - 1, len(lines[-1])
        document.report(document.source.mark(line, column, line, column + 1), "encoding", sentence)
        return document
    return parse(text, str(path), folder)


def parse(text: str, name: str, folder: Path | None = None) -> Document:
    """The recipe in a text.

    Args:
        text: YAML.
        name: what the text is called in problems.
        folder: what relative paths in it are relative to; the working directory if not given.
    """
    folder = folder or Path.cwd()
    if len(text) > MOST_BYTES or len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        return _too_large(name, folder, len(text.encode("utf-8", "surrogatepass")))
    document = Document(Source.of(name, text.removeprefix("\ufeff")), folder)
    document.root = read_value(document, document.source, text.removeprefix("\ufeff"))
    if document.root is None and not document.problems:
        document.report(document.start, "empty", _EMPTY)
    elif document.root is not None and not isinstance(document.root.value, dict):
        _not_a_mapping(document, document.root)
    return document


def read_value(document: Document, source: Source, text: str, path: Steps = (), key: Mark | None = None) -> Node | None:
    """One YAML value with its places; problems go to the document.

    Args:
        document: where problems and holes are kept.
        source: what marks point into.
        text: the value, each of its lines at the column that it has in the source.
        path: the value's place in the recipe.
        key: where the value's key stands, if it has one.

    Returns:
        None where the text is not YAML or holds nothing.
    """
    if _unprintable(document, source, path):
        return None
    loader = _Loader(text)
    try:
        return NodeReader(document, source, loader).read(path, key)
    except Unreadable:
        return None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        if not any(p.rule == "indentation" for p in document.problems):  # what made the parser fail
            mark, rule, message = complaint(source, error)
            document.report(mark, rule, message, path)
        return None
    finally:
        loader.dispose()


def _unprintable(document: Document, source: Source, path: Steps) -> bool:
    """Whether the text holds characters that no recipe may hold; the first one of each line is reported."""
    found = False
    for number, line in enumerate(source.lines):
        if line.isprintable() or not (bad := _UNWRITABLE.search(line)):
            continue
        if len(document.problems) >= MOST_PROBLEMS:
            break
        found = True
        kind = "control" if CONTROL.match(bad[0]) else "invisible"
        message = f"{kind} character U+{ord(bad[0]):04X} (shown as {shown(bad[0])}): remove it"
        document.report(source.mark(number, bad.start(), number, bad.end()), "control-character", message, path)
    return found


def _not_a_mapping(document: Document, root: Node) -> None:
    got = "a list" if isinstance(root.value, list) else "one value"
    text = root.raw
    hint = "did you miss a space after ':'?" if ":" in text else "such as 'version: 1'"
    if isinstance(root.value, list):
        hint = "write the keys without '-'"
    document.report(root.mark, "type", f"expected 'key: value', got {got}: {hint}")
    document.root = None


def _too_large(name: str, folder: Path, size: int) -> Document:
    document = Document(Source.of(name, ""), folder)
    shown_size = f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.0f} KiB"
    limit = f"{MOST_BYTES // 1024} KiB"
    document.report(document.start, "size", f"the recipe has {shown_size}; {limit} is the most a recipe may have")
    return document
