"""What a cross-field rule sees of a recipe, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from runner.language.document import Document, Steps
from runner.language.problems import Severity
from runner.language.schemas import annotation, child, places_of


class Told(NamedTuple):
    """What a rule finds: the path with dots, the sentence, how bad it is."""

    path: str
    message: str
    severity: Severity = "error"


class Rule(NamedTuple):
    """A rule's stable name, which stands in brackets after its message, and its function."""

    name: str
    function: Callable[[View], Iterator[Told]]


def rule(name: str) -> Callable[[Callable[[View], Iterator[Told]]], Rule]:
    """Make a function a Rule of this name."""
    return lambda function: Rule(name, function)


class Broken(Exception):
    """A rule asked for a key that has a problem of its own."""


class View:
    """A recipe's values, defaults filled in, asked for by path.

    Args:
        document: what was written.
        values: the resolved recipe.
        broken: places that have problems already.
    """

    def __init__(self, document: Document, values: dict[str, Any], broken: set[Steps]) -> None:
        self._document = document
        self._values = values
        self._broken = broken

    def get(self, path: str) -> Any:
        """The value at 'training.ema.decay'; None if it or its section is absent.

        Raises:
            Broken: a problem lies at, above or below this path.
        """
        place = steps(path)
        if any(b and place[: len(b)] == b[: len(place)] for b in self._broken):
            raise Broken
        return self._at(place)

    def has(self, path: str) -> bool:
        """Whether the recipe has this section, or a value other than null.

        Raises:
            Broken: a problem lies at or above this path.
        """
        place = steps(path)
        if any(place[: len(b)] == b for b in self._broken):
            raise Broken
        return self._at(place) is not None

    def entries(self, path: str) -> list[str]:
        """The paths of a list's entries; none where there is no list.

        Raises:
            Broken: a problem lies at, above or below this path.
        """
        value = self.get(path)
        return [f"{path}.{i}" for i in range(len(value))] if isinstance(value, list) else []

    def texts(self) -> Iterator[tuple[str, str]]:
        """Every text that was written and has no problem itself, with its path."""
        if self._document.root is not None:
            for path, node in self._document.root.walk():
                if isinstance(node.value, str) and path not in self._broken:
                    yield ".".join(map(str, path)), node.value

    def written(self, path: str) -> bool:
        """Whether the user wrote this key, rather than leaving it at its default."""
        return self._document.node(steps(path)) is not None

    def chosen(self, path: str) -> bool:
        """Whether the user wrote this key with another value than its default."""
        place = steps(path)
        default = annotation(places_of(place, self._values), "default")
        return self.written(path) and self._at(place) != default

    def _at(self, place: Steps) -> Any:
        value: Any = self._values
        for step in place:
            value = child(value, step)
        return value


def steps(path: str) -> Steps:
    """'freeze.0' as ('freeze', 0)."""
    return tuple(int(step) if step.isdigit() else step for step in path.split(".")) if path else ()
