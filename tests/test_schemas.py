"""The schemas keep to the shapes that the walk knows, and a second validator reads them the same way."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from runner import shipped_files
from runner.language import schemas
from runner.language.check import check
from runner.language.document import Document, dotted
from runner.language.load import load, parse
from runner.language.write import to_yaml

FOLDER = shipped_files.folder("schemas")
FILES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.json"))
RECIPES = Path(__file__).parent / "recipes"

SHAPES = {
    *["$schema", "title", "description", "definitions", "type", "enum", "default", "minimum", "maximum"],
    *[
        "minItems",
        "maxItems",
        "items",
        "maxLength",
        "pattern",
        "properties",
        "required",
        "additionalProperties",
        "allOf",
    ],
}
ANNOTATIONS = {
    "x-aliases",  # what peers call the key
    "x-values",  # other words for its values, or for keys with their values
    "x-suffixes",  # what may follow such a word, and the keys that it stands for
    "x-nearest",  # words without an equal, and what comes nearest
    "x-absent",  # what leaving it out means
    "x-pattern",  # its pattern in words
    "x-model",  # the model.type that a fragment goes with
    "x-mend",  # what to write, where nothing better is known
    "x-elsewhere",  # values that other fragments have, and what to write for them
    "x-prose",  # free text: '${…}' is no mistake
    "x-unsafe",  # values that are refused rather than wrong
    "x-unsafe-because",
    "x-templates",  # captions of textual inversion, {token} for its word
    "x-refused",  # keys that are refused rather than unknown
}
SCHEMA_RULES = {"unknown-key", "missing-key", "type", "value", "pattern", "length", "range", "version"}


def nodes(schema: dict[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a file, the conditions of `if` left out."""
    yield where, schema
    for group in ("properties", "definitions"):
        for key, inner in schema.get(group, {}).items():
            yield from nodes(inner, f"{where}/{key}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{where}/items")
    for number, branch in enumerate(schema.get("allOf", [])):
        if "$ref" not in branch:
            yield from nodes(branch["then"], f"{where}/allOf/{number}")


ALL = [node for file in FILES for node in nodes(schemas.read(file), file)]
FRAGMENTS = [(where, node) for where, node in ALL if "properties" in node]


@pytest.mark.parametrize("file", FILES)
def test_each_file_is_a_draft_07_schema_of_the_house(file: str) -> None:
    schema = schemas.read(file)
    Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert (FOLDER / file).read_text("utf-8") == json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def test_only_known_shapes() -> None:
    for where, node in ALL:
        if "$ref" in node:
            assert list(node) == ["$ref"], where
            assert "://" not in node["$ref"], where
            continue
        assert set(node) <= SHAPES | ANNOTATIONS, where
        for branch in node.get("allOf", []):
            assert list(branch) in (["$ref"], ["if", "then"]), where
            if "if" in branch:
                assert only_constants(branch["if"]), where


def only_constants(condition: dict[str, Any]) -> bool:
    if list(condition) == ["const"]:
        return True
    keys = list(condition.get("properties", {}))
    inner = all(only_constants(c) for c in condition["properties"].values())
    return set(condition) == {"properties", "required"} and condition["required"] == keys and inner


def test_every_reference_leads_somewhere_and_every_file_is_used() -> None:
    seen = {schemas.ROOT}
    for _, places in schemas.sections():
        seen |= {place.file for place in places}
        seen |= {inner.file for keys in schemas.properties(places).values() for inner in keys}
    assert seen == set(FILES)


def test_every_key_says_what_it_is_and_what_its_absence_means() -> None:
    for path, places in schemas.sections():
        required = {key for place in places for key in place.schema.get("required", [])}
        for key, inner in schemas.properties(places).items():
            for place in inner:
                where = f"{place.file}: {dotted((*path, key))}"
                assert place.schema["description"].strip(), where
                assert place.schema["description"].strip().endswith("."), where
            known = key in required or any({"default", "x-absent"} & set(place.schema) for place in inner)
            assert known, (path, key)


def test_every_value_is_bounded() -> None:
    for where, node in ALL:
        types = node.get("type", [])
        types = [types] if isinstance(types, str) else types
        if "enum" in node or "$ref" in node:
            continue
        if {"integer", "number"} & set(types):
            assert "minimum" in node and "maximum" in node, where
        if "string" in types:
            assert "maxLength" in node or "pattern" in node, where
        if "array" in types:
            assert "maxItems" in node and "items" in node, where
        if "pattern" in node:
            assert node["pattern"].startswith("^") and node["pattern"].endswith("$") and "x-pattern" in node, where


def test_every_fragment_is_closed() -> None:
    """Unknown keys are errors everywhere, but in the head of a typed section: there the type's fragment says so."""
    for where, node in FRAGMENTS:
        head = set(node["properties"]) == {"type"} and "allOf" in node
        branch_of_root = "/allOf/" in where
        assert head or branch_of_root or node.get("additionalProperties") is False, where


def test_the_types_of_a_section_are_its_branches() -> None:
    for where, node in FRAGMENTS:
        if set(node["properties"]) != {"type"} or "allOf" not in node:
            continue
        constants = [branch["if"]["properties"]["type"]["const"] for branch in node["allOf"]]
        assert constants == node["properties"]["type"]["enum"], where
        for constant, branch in zip(constants, node["allOf"], strict=True):
            place = schemas.follow(schemas.Place(where, branch["then"]))
            assert place.schema["properties"]["type"]["enum"] == [constant], (where, constant)


def test_other_names_are_not_names() -> None:
    for path, places in schemas.sections():
        for place in places:
            keys = schemas.properties([place])
            other = [name for inner in keys.values() for name in schemas.annotation(inner, "x-aliases") or []]
            assert not set(other) & set(keys), (place.file, path)
            assert len(other) == len(set(other)), (place.file, path)
            refused = set(schemas.root().schema["x-refused"])
            if path in (("model", "embeddings", 0), ("adapter",)):
                refused -= {"token"}  # the word in prompts; a rule keeps the hub's token out
            assert not (set(other) | set(keys)) & refused, (place.file, path)


def test_other_words_lead_to_values() -> None:
    for where, node in ALL:
        for value in [*node.get("x-values", {}).values(), *node.get("x-nearest", {}).values()]:
            if isinstance(value, dict):
                recipe = {"version": 1, "name": "n", "model": {"type": "pretrained", "id": "x"}, "scheduler": value}
                assert ours_accepts(to_yaml(recipe, header=False)), (where, value)
            else:
                assert value in node.get("enum", []), where
        assert not set(node.get("x-values", {})) & set(node.get("enum", [])), where


def test_defaults_fit_their_own_schema() -> None:
    for where, node in ALL:
        if "default" in node and "object" not in node["type"]:
            assert Draft7Validator(node).is_valid(node["default"]), where


# --- a second validator, which shares no code with the first


def second() -> Any:
    """fastjsonschema over the same files; their relative references resolve against a made-up address."""

    def read(uri: str) -> dict[str, Any]:
        # A copy: fastjsonschema rewrites references in place.
        return {**copy.deepcopy(schemas.read(uri.removeprefix("file:///"))), "$id": uri}

    return fastjsonschema.compile(read("file:///recipe.json"), handlers={"file": read}, use_default=False)


SECOND = second()


def second_accepts(data: Any) -> bool:
    try:
        SECOND(data)
    except fastjsonschema.JsonSchemaValueException:
        return False
    return True


def ours_accepts(text: str) -> bool:
    return not any(p.rule in SCHEMA_RULES | {"refused"} for p in check(parse(text, "r.yaml")))


@pytest.mark.parametrize("path", sorted((RECIPES / "good").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_second_validator_accepts_good_recipes(path: Path) -> None:
    assert second_accepts(load(path).data)


BAD = [document for path in sorted((RECIPES / "bad").glob("*.yaml")) if not (document := load(path)).problems]


@pytest.mark.parametrize("document", BAD, ids=lambda document: Path(document.source.name).stem)
def test_the_second_validator_agrees_on_bad_recipes(document: Document) -> None:
    rules = {p.rule for p in check(document)}
    if not rules & {"finite", "variable", "refused"}:  # those say more than a schema can
        assert second_accepts(document.data) == (not rules & SCHEMA_RULES)


def of_schema(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values round a schema: mostly right, at its bounds and just past them."""
    if "enum" in schema:
        return st.sampled_from([*schema["enum"], "xyzzy", 3])
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    low, high = schema.get("minimum", 0), schema.get("maximum", 1)
    edges = [low, high, low - 1, high + 1, (low + high) / 2, int(low + 1), float(int(low + 2))]
    by_type: dict[str, st.SearchStrategy[Any]] = {
        "integer": st.sampled_from(edges),
        "number": st.sampled_from(edges),
        "boolean": st.booleans(),
        "null": st.none(),
        "string": st.sampled_from(["a", "auto", "#ff00aa", "", "Ä b", "x" * 65, "y" * 1001, "a\n"]),
    }
    if "array" in types:
        by_type["array"] = st.lists(of_schema(schema["items"]), max_size=4)
    wrong = st.sampled_from([None, True, 1.5, "1", [], {}, [1], {"a": 1}])
    right = st.one_of([by_type[t] for t in types if t in by_type])
    return st.one_of(right, right, right, wrong)


@st.composite
def mappings(draw: st.DrawFn, places: list[schemas.Place]) -> Any:
    """A section with some of its keys, its `type` given first."""
    if draw(st.integers(0, 30)) == 0:
        return draw(st.sampled_from([None, [], "text", 1]))
    keys = schemas.properties(schemas.branches(places))
    data: dict[str, Any] = {}
    if "type" in keys and draw(st.integers(0, 9)):
        kinds = [kind for place in keys["type"] for kind in place.schema["enum"]]
        data["type"] = draw(st.sampled_from(kinds))
        keys = schemas.properties(schemas.fragments(places, data)) or keys
    for key, inner in keys.items():
        # What the keys before it leave of it: the sampling of this type of model.
        if "model" in data:
            inner = schemas.properties(schemas.fragments(places, data)).get(key, inner)
        whole = schemas.branches(inner)
        if key == "type" or draw(st.integers(0, 3)) == 0:
            continue
        entries = schemas.items(whole)
        if schemas.properties(whole):
            data[key] = draw(mappings(inner))
        elif schemas.properties(schemas.branches(entries)):
            data[key] = [draw(mappings(entries)) for _ in range(draw(st.integers(0, 2)))]
        else:
            data[key] = draw(of_schema({k: v for p in inner for k, v in p.schema.items()}))
    if draw(st.integers(0, 9)) == 0:
        data[draw(st.sampled_from(["xyzzy", "lr", "type", "hooks"]))] = 1
    return data


@settings(max_examples=40, deadline=None)
@given(mappings([schemas.root()]))
def test_both_validators_agree_on_made_up_recipes(data: Any) -> None:
    assert_agreement(data)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(mappings([schemas.root()]))
def test_both_validators_agree_on_many_made_up_recipes(data: Any) -> None:
    assert_agreement(data)


def assert_agreement(data: Any) -> None:
    if not isinstance(data, dict) or not data:
        return
    text = to_yaml(data, header=False)
    document = parse(text, "r.yaml")
    assert document.problems == []
    assert ours_accepts(text) == second_accepts(document.data)
