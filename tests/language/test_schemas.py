"""The walk over the schemas goes through lists of mappings; defaults are filled in inside them."""

import pytest

from runner.language import schemas
from runner.language.load import parse
from runner.language.resolve import resolve

TEXT = """version: 1
name: lists
model:
  type: pretrained
  id: a/b
  embeddings: [{id: c/d}, {id: e/f, token: x}]
  loras:
    - id: ./style.safetensors
    - {id: g/h, weight: 2}
sampling:
  prompts: [a rose]
  matrix:
    scheduler:
      - {type: DDIM, clip_sample: true}
      - {type: EulerDiscrete, use_karras_sigmas: true}
      - type: DPMSolverMultistep
    guidance_scale: [1, 7.5]
    clip_skip: [null, 1.0]
"""


def test_defaults_are_filled_inside_entries() -> None:
    values = resolve(parse(TEXT, "r.yaml"))
    assert values["model"]["embeddings"] == [
        {"id": "c/d", "file": None, "token": None, "revision": None},
        {"id": "e/f", "file": None, "token": "x", "revision": None},
    ]
    assert values["model"]["loras"] == [
        {"id": "./style.safetensors", "file": None, "weight": 1.0, "revision": None},
        {"id": "g/h", "file": None, "weight": 2.0, "revision": None},
    ]
    assert type(values["model"]["loras"][1]["weight"]) is float


def test_entries_of_other_types_keep_apart() -> None:
    matrix = resolve(parse(TEXT, "r.yaml"))["sampling"]["matrix"]
    assert matrix["scheduler"] == [
        {"type": "DDIM", "clip_sample": True},
        {"type": "EulerDiscrete", "use_karras_sigmas": True},
        {"type": "DPMSolverMultistep"},
    ]
    assert matrix["guidance_scale"] == [1.0, 7.5]
    assert matrix["clip_skip"] == [None, 1]
    assert list(matrix) == ["scheduler", "guidance_scale", "clip_skip"]  # nothing is filled in beside them


def test_defaults_are_not_shared() -> None:
    first, second = (resolve(parse(TEXT.replace("embeddings", "loras_"), "r.yaml")) for _ in range(2))
    first["model"]["embeddings"].append("x")
    first["compute"]["device"] = "x"
    assert second["model"]["embeddings"] == []
    assert resolve(parse(TEXT, "r.yaml"))["compute"]["device"] == "auto"


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        (("model", "loras", 0), {"id", "file", "weight", "revision"}),
        (("model", "embeddings", 1), {"id", "file", "token", "revision"}),
        (("sampling", "matrix", "scheduler", 1), {"use_karras_sigmas", "type"}),
    ],
)
def test_places_inside_entries(path: tuple[str | int, ...], keys: set[str]) -> None:
    data = parse(TEXT, "r.yaml").data
    assert keys <= set(schemas.properties(schemas.places_of(path, data)))
    assert "weight" not in schemas.properties(schemas.places_of(("model", "embeddings", 0), data))
    ddim = schemas.properties(schemas.places_of(("sampling", "matrix", "scheduler", 0), data))
    assert "clip_sample" in ddim and "use_karras_sigmas" not in ddim


def test_a_list_past_its_end_and_a_place_in_no_list() -> None:
    data = parse(TEXT, "r.yaml").data
    assert schemas.child([1], 3) is None
    assert schemas.child({"a": 1}, "b") is None
    assert schemas.child("text", 0) is None
    assert schemas.places_of(("model", "id", 0), data) == []


def test_sections_of_lists_stand_with_their_first_entry() -> None:
    paths = [path for path, _ in schemas.sections()]
    assert ("model", "loras", 0) in paths
    assert ("sampling", "matrix", "scheduler", 0) in paths
    assert ("model", "loras") not in paths


def test_sampling_goes_by_the_models_type() -> None:
    for kind, key, default in (("pixel_unet", "num_images", 16), ("pretrained", "num_images", 1)):
        found = schemas.properties(schemas.places_of(("sampling",), {"model": {"type": kind}}))
        assert schemas.annotation(found[key], "default") == default
        assert ("prompts" in found) == (kind == "pretrained")
    assert schemas.properties(schemas.places_of(("sampling",), {})) == {}
