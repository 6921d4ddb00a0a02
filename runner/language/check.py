"""A document → its problems, all at once and in order: reading, schema, cross-field rules."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from jsonschema import Draft7Validator, ValidationError, validators
from referencing import Registry, Resource
from referencing.exceptions import NoSuchResource
from referencing.jsonschema import DRAFT7

from runner.language import schemas
from runner.language.document import MOST_PROBLEMS, Document, Steps, dotted
from runner.language.problems import Problem
from runner.language.rules import broken_rules
from runner.language.sentences import Finding, sentence
from runner.language.unknown import MOST_UNKNOWN, could_be, unknown_key

_VARIABLES = (("${", "}"), ("{{", "}}"))
_BASE = "file:///"  # what the schema files' relative references are resolved against; nothing is opened by it
# Of several complaints about one value, the first of these is told.
_ORDER = ["type", "enum", "pattern", "minItems", "maxItems", "minLength", "maxLength", "minimum", "maximum"]


def check(document: Document) -> list[Problem]:
    """Every problem of a document, sorted by place. Needs no network, no model and no data."""
    if document.root is None:
        return document.in_order(document.problems)
    data = document.data
    if (newer := _newer(data)) is not None:
        return document.in_order([*document.problems, _positioned(document, newer)])
    found = _schema_findings(document, data)
    if len(found) < MOST_PROBLEMS:
        found += broken_rules(document, _uncertain(data, found) | document.holes)
    return document.in_order(document.problems + [_positioned(document, finding) for finding in found])


def _uncertain(data: Any, found: list[Finding]) -> set[Steps]:
    """The places that rules must not rely on."""
    broken = {finding.path for finding in found}
    # A wrong type makes its whole section uncertain; an unknown key only what it may have been meant for.
    broken |= {finding.path[:-1] for finding in found if finding.path[-1] == "type"}
    for finding in found:
        if finding.rule == "unknown-key":
            broken |= set(could_be(finding.path[:-1], str(finding.path[-1]), data))
    for key, value in data.items():
        # So are the keys of a section that no schema has looked into: a scheduler whose model is not known.
        if isinstance(value, dict) and not any(
            "additionalProperties" in p.schema for p in schemas.places_of((key,), data)
        ):
            broken |= {(key, inner) for inner in value}
    return broken


def _schema_findings(document: Document, data: Any) -> list[Finding]:
    found: dict[Steps, Finding] = {}
    for finding in chain(_not_finite(document), _variables(document, data), _from_schemas(document, data)):
        if len(found) >= MOST_PROBLEMS:
            break
        known = found.get(finding.path)
        if not _in_hole(document, finding.path) and (known is None or _rank(finding) < _rank(known)):
            found[finding.path] = finding
    return list(found.values())


def _newer(data: Any) -> Finding | None:
    """A recipe of a later version of the language: nothing else can be said about it."""
    version = data.get("version")
    known = schemas.root().schema["properties"]["version"]["enum"][-1]
    if isinstance(version, int | float) and not isinstance(version, bool) and known < version < math.inf:
        message = (
            f"the recipe is written in version {version:g} of the language; "
            f"this program knows version {known}: update it"
        )
        return Finding(("version",), "version", message)
    return None


def _not_finite(document: Document) -> Iterator[Finding]:
    assert document.root is not None
    for path, node in document.root.walk():
        if isinstance(node.value, float) and not math.isfinite(node.value):
            yield Finding(path, "finite", f"{dotted(path)} must be a finite number (got {node.raw[:40]})")


def _variables(document: Document, data: Any) -> Iterator[Finding]:
    """'${x}' and '{{ x }}' anywhere but in prose."""
    assert document.root is not None
    for path, node in document.root.walk():
        if isinstance(node.value, str) and _has_variable(node.value):
            places = schemas.places_of(path, data)
            if places and not schemas.annotation(places, "x-prose"):
                yield Finding(path, "variable", "recipes hold no variables: write the value itself")


def _has_variable(text: str) -> bool:
    """In linear time, unlike a pattern."""
    return any(0 <= text.find(opener) < text.rfind(closer) for opener, closer in _VARIABLES)


def _in_hole(document: Document, path: Steps) -> bool:
    return any(path[: len(hole)] == hole for hole in document.holes)


def _rank(finding: Finding) -> int:
    return _ORDER.index(finding.keyword) if finding.keyword in _ORDER else -1


def _from_schemas(document: Document, data: Any) -> Iterator[Finding]:
    for error in _validator().iter_errors(data):
        path: Steps = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            yield from _unknown_keys(document, data, path, error)
        elif error.validator == "required":
            yield from _missing_keys(data, path, error)
        else:
            yield sentence(document, data, path, error)


def _unknown_keys(document: Document, data: Any, path: Steps, error: ValidationError) -> Iterator[Finding]:
    instance: Any = error.instance
    schema: Any = error.schema
    extra = [key for key in instance if key not in schema["properties"]]
    for key in extra[:MOST_UNKNOWN]:
        yield unknown_key(document, data, path, key)
    if len(extra) > MOST_UNKNOWN:
        more = len(extra) - MOST_UNKNOWN
        message = f"and {more} more unknown keys in {dotted(path)}"
        yield Finding((*path, extra[MOST_UNKNOWN]), "unknown-key", message, at_key=True)


def _missing_keys(data: Any, path: Steps, error: ValidationError) -> Iterator[Finding]:
    required: Any = error.validator_value
    instance: Any = error.instance
    for key in required:
        if key in instance:
            continue
        where = f" in {dotted(path)}" if path else ""
        if glued := next((k for k in instance if k.startswith(f"{key}:")), None):
            message = f"missing key '{key}'{where}: did you miss a space after '{key}:'?"
            yield Finding((*path, glued), "missing-key", message, at_key=True)
        else:
            message = f"missing key '{key}'{where}: {_help(key, schemas.places_of((*path, key), data))}"
            yield Finding((*path, key), "missing-key", message)


def _help(key: str, places: list[schemas.Place]) -> str:
    if (mend := schemas.annotation(places, "x-mend")) is not None:
        return str(mend)
    values = schemas.annotation(places, "enum")
    if values and len(values) == 1:
        return f"write '{key}: {values[0]}'"
    description = str(schemas.annotation(places, "description") or "").partition(". ")[0].rstrip(".")
    help = description[:1].lower() + description[1:]
    return f"{help} (one of {', '.join(map(str, values))})" if values else help


def _positioned(document: Document, finding: Finding) -> Problem:
    path = finding.path
    if (
        finding.rule == "missing-key"
        and document.node(path) is None
        and document.node((*path[:-1], "type")) is not None
    ):
        # The type is what makes the key necessary.
        mark_path: Steps = (*path[:-1], "type")
    else:
        mark_path = path
    problem = document.problem(mark_path, finding.rule, finding.message, finding.severity, key=finding.at_key)
    return replace(problem, path=path)


def _items(validator: Any, items: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Like jsonschema's, but a list that is too long is not looked into."""
    if not isinstance(instance, list) or len(instance) <= schema.get("maxItems", len(instance)):
        yield from Draft7Validator.VALIDATORS["items"](validator, items, instance, schema)


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """Over the whole text: Python's '$' would let a last newline through."""
    if isinstance(instance, str) and not re.fullmatch(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Any = validators.extend(Draft7Validator, {"items": _items, "pattern": _pattern})


def _validator() -> Any:
    registry: Registry = Registry(retrieve=_local)  # type: ignore[call-arg]
    return _Validator({"$ref": f"{_BASE}{schemas.ROOT}"}, registry=registry)


def _local(uri: str) -> Resource:
    """A schema file of ours; nothing else can be referred to."""
    if not uri.startswith(_BASE):
        raise NoSuchResource(uri)
    schema = schemas.read(uri.removeprefix(_BASE))
    # Without '$schema', by which jsonschema would go on with a validator that is not ours.
    return DRAFT7.create_resource({key: value for key, value in schema.items() if key != "$schema"})
