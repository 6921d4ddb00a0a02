"""Models of the hub over the network, against a hub of our own on this machine."""

import pytest

from tests.fake_hub import COMMIT, ERRORS, serve
from tests.hub.conftest import Hub

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
DATA = bytes(range(256)) * 8192  # 2 MiB
ROTTEN = "x" * len(DATA)  # of the same size
MODEL = {
    "README.md": b"# a model",
    "model_index.json": b'{"_class_name": "StableDiffusionPipeline"}',
    "unet/config.json": b'{"_class_name": "UNet2DConditionModel"}',
    WEIGHTS: DATA,
    "unet/diffusion_pytorch_model.bin": b"a pickle that nobody asked for",
    "pipeline.py": b"raise SystemExit('code was run')",
}
REPOSITORIES = {
    "me/model": MODEL,
    **{f"me/{name}": {WEIGHTS: DATA, "unet/config.json": b"{}"} for name in ("cut", "stuck", "flipped")},
    "me/text": {"model_index.json": b"<!DOCTYPE html>", "deep.json": b"[" * 100_000},
    "me/escape": {"../../../stolen.json": b"{}", "model_index.json": b"{}"},
}
TROUBLE = {(f"me/{name}", WEIGHTS): name for name in ("cut", "stuck", "flipped")}
NEEDED = ["unet/config.json", WEIGHTS]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """One process asks everything of a hub that works, in this order; then the hub is gone."""
    home, asked = tmp_path_factory.mktemp("hf"), []
    questions = {
        "dry": {"id": "me/model", "json": "model_index.json", "start": [WEIGHTS, 10]},
        "fetched": {"id": "me/model", "fetch": NEEDED},
        "again": {"id": "me/model", "fetch": NEEDED},
        "below": {"id": "me/model", "subfolder": "unet", "fetch": ["config.json"]},
        "no folder": {"id": "me/model", "subfolder": "vae"},
        "no file": {"id": "me/model", "fetch": ["vae/config.json"]},
        "no checkpoint": {"id": "me/model", "load": {"file": "zz.safetensors"}},
        "no json": {"id": "me/text", "json": "model_index.json"},
        "deep json": {"id": "me/text", "json": "deep.json"},
        "escape": {"id": "me/escape"},
        "revision": {"id": "me/model", "revision": "v9"},
        "cut": {"id": "me/cut", "fetch": NEEDED},
        "stuck": {"id": "me/stuck", "fetch": NEEDED},
        "flipped": {"id": "me/flipped", "fetch": NEEDED},
        "spoilt": {"id": "me/model", "fetch": NEEDED, "spoil": {WEIGHTS: "cut short"}},
        "flipped bit": {"id": "me/model", "fetch": NEEDED, "spoil": {WEIGHTS: ROTTEN}},
        "whole again": {"id": "me/model", "fetch": NEEDED},
        **{id: {"id": id} for id in ERRORS},
    }
    with serve(REPOSITORIES, dict(TROUBLE), asked) as first:
        answers = dict(zip(questions, Hub(first, home).ask(*questions.values()), strict=True))
        before, asked[:] = list(asked), []
        answers["continued"] = Hub(first, home).ask({"id": "me/stuck", "fetch": NEEDED})[0]
        stuck, asked[:] = list(asked), []
    with serve(REPOSITORIES, None, asked) as url:
        answers["healed"], answers["flipped again"] = Hub(url, home).ask(
            {"id": "me/stuck", "fetch": NEEDED}, {"id": "me/flipped", "fetch": NEEDED}
        )
    offline = {
        "offline": {"id": "me/model", "fetch": NEEDED, "json": "unet/config.json", "offline": True},
        "offline pinned": {"id": "me/model", "revision": COMMIT, "fetch": NEEDED, "offline": True},
        "offline below": {"id": "me/model", "subfolder": "unet", "fetch": ["config.json"], "offline": True},
        "offline in part": {"id": "me/model", "fetch": ["vae/config.json"], "offline": True},
        "offline never": {"id": "me/never", "offline": True},
        "offline other": {"id": "me/model", "revision": "v9", "offline": True},
        "unreachable": {"id": "me/model"},
        "offline flipped bit": {"id": "me/model", "fetch": NEEDED, "offline": True, "spoil": {WEIGHTS: ROTTEN}},
    }
    answers |= dict(zip(offline, Hub(url, home).ask(*offline.values()), strict=True))
    return answers | {"url": first, "asked": before, "asked by stuck": stuck, "asked to heal": list(asked)}


def test_looking_at_a_model_leaves_nothing_on_this_machine(session):
    dry = session["dry"]
    assert dry["revision"] == COMMIT
    assert dry["sizes"] == {name: len(data) for name, data in MODEL.items()}
    assert dry["json"] == {"_class_name": "StableDiffusionPipeline"}
    assert dry["start"] == DATA[:10].decode("latin-1")
    assert dry["kept"] == []


def test_a_fetch_brings_exactly_the_named_files_with_one_bar_of_bytes(session):
    fetched = session["fetched"]
    assert fetched["missing"] == {name: len(MODEL[name]) for name in NEEDED}
    assert fetched["still"] == {}
    assert fetched["data"] == {name: MODEL[name].decode("latin-1") for name in NEEDED}
    total = sum(len(MODEL[name]) for name in NEEDED)
    assert fetched["bars"] == [["Downloading me/model", total, total]]
    snapshot = f"hub/models--me--model/snapshots/{COMMIT}"
    linked = [name for name in fetched["kept"] if "/snapshots/" in name]
    assert linked == [f"{snapshot}/{name}" for name in sorted(NEEDED)]
    assert not [line for line in session["asked"] if "pipeline.py" in line or ".bin" in line]


def test_what_is_there_is_not_fetched_again(session):
    again = session["again"]
    assert (again["missing"], again["bars"]) == ({}, [])
    assert again["data"] == session["fetched"]["data"]


def test_a_subfolder_is_the_root(session):
    below = session["below"]
    assert below["sizes"] == {name[5:]: len(data) for name, data in MODEL.items() if name.startswith("unet/")}
    assert below["origin"] == "me/model/unet"
    assert below["data"] == {"config.json": MODEL["unet/config.json"].decode()}


def test_a_download_that_is_cut_goes_on(session):
    assert session["cut"]["data"][WEIGHTS] == DATA.decode("latin-1")
    assert f"GET /me/cut/resolve/{COMMIT}/{WEIGHTS} bytes={len(DATA) // 2}-" in session["asked"]


def test_half_a_download_is_kept_and_the_next_run_goes_on_from_it(session):
    for name in ("stuck", "continued"):
        assert session[name]["fault"] == "EnvironmentFault"
        assert session[name]["exit"] == 5
        assert session[name]["text"] == (
            f"the download of {WEIGHTS} of model me/stuck stopped at 1 MiB of 2 MiB: run again, it goes on from there"
        )
    ranged = f"GET /me/stuck/resolve/{COMMIT}/{WEIGHTS} bytes={len(DATA) // 2}-"
    assert [line for line in session["asked by stuck"] if line.startswith("GET /me/stuck") and WEIGHTS in line] == [
        ranged
    ] * 3
    assert session["healed"]["data"][WEIGHTS] == DATA.decode("latin-1")
    total = len(DATA)
    assert session["healed"]["bars"] == [["Downloading me/stuck", total, total]]
    assert ranged in session["asked to heal"]


def test_a_damaged_download_is_found_by_its_hash_and_does_not_stay(session):
    flipped = session["flipped"]
    assert (flipped["fault"], flipped["exit"]) == ("ModelError", 4)
    assert flipped["text"] == (
        f"{WEIGHTS} of model me/flipped came damaged (its sha256 is not the one that the hub lists): run again"
    )
    assert session["flipped again"]["data"][WEIGHTS] == DATA.decode("latin-1")


def test_a_damaged_file_of_the_cache_is_named_and_fetched_again(session):
    spoilt = session["spoilt"]
    assert spoilt["missing"] == {WEIGHTS: len(DATA)}
    assert spoilt["warnings"] == [f"me/model/{WEIGHTS} is damaged in the hub's cache: downloading it again"]
    assert spoilt["data"][WEIGHTS] == DATA.decode("latin-1")


def test_a_file_of_the_cache_that_is_not_of_its_hash_is_fetched_again(session):
    answer = session["flipped bit"]
    assert answer["missing"] == {}  # its size is right
    assert answer["warnings"] == [f"me/model/{WEIGHTS} is damaged in the hub's cache: downloading it again"]
    assert answer["bars"][0] == ["Checking me/model", len(DATA), len(DATA)]
    assert answer["data"][WEIGHTS] == DATA.decode("latin-1")
    assert (session["whole again"]["bars"], session["whole again"]["warnings"]) == ([], [])
    assert session["offline flipped bit"]["exit"] == 4
    assert session["offline flipped bit"]["text"] == (
        f"me/model/{WEIGHTS} is damaged in the hub's cache (its sha256 is not that of the hub's file): "
        "run once without --offline, which downloads it again"
    )


def test_what_was_cached_before_is_checked_once_in_a_process(session):
    assert session["offline"]["bars"] == [["Checking me/model", len(DATA), len(DATA)]]
    assert session["offline pinned"]["bars"] == []


@pytest.mark.parametrize("name", ["offline", "offline pinned"])
def test_a_cached_model_works_offline(session, name):
    answer = session[name]
    assert answer["revision"] == COMMIT
    assert answer["data"] == session["fetched"]["data"]
    assert sorted(answer["sizes"]) == sorted(NEEDED)


def test_a_subfolder_works_offline(session):
    assert session["offline below"]["data"] == session["below"]["data"]


INSTEAD = (
    "--smoke rehearses this recipe without it, model.id takes a folder of your own, "
    "and --offline draws with a model that is on this machine"
)
LOGIN = "log in with 'hf auth login'"
FAULTS = {
    "gone/set": (4, f"the hub has no model gone/set, or it is private: correct model.id, or {LOGIN}"),
    "private/set": (4, f"the hub has no model private/set, or it is private: correct model.id, or {LOGIN}"),
    "gated/set": (4, f"model gated/set is gated: ask for access on URL/gated/set, then {LOGIN}"),
    "disabled/set": (4, "model disabled/set is disabled on the hub: choose another"),
    "forbidden/set": (4, f"the hub refuses model forbidden/set (403): {LOGIN}"),
    "busy/set": (
        5,
        "the hub limits the rate of requests (429) for model busy/set: try again in 7 seconds, "
        f"or {LOGIN} for a higher limit",
    ),
    "down/set": (5, f"the hub is out of order (503) for model down/set: try again later; {INSTEAD}"),
    "broken/set": (5, f"the hub is out of order (500) for model broken/set: try again later; {INSTEAD}"),
    "odd/set": (4, "the hub answers 418 for model odd/set: check model.id and model.revision"),
    "revision": (4, "model me/model has no revision 'v9': correct model.revision"),
    "no folder": (4, "model me/model has no folder vae: correct model.subfolder"),
    "no file": (4, "model me/model has no file vae/config.json: correct model.id"),
    "no checkpoint": (4, "me/model has no file zz.safetensors: correct model.file"),
    "offline in part": (
        5,
        "model me/model is on this machine only in part (vae/config.json is missing): run once without --offline",
    ),
    "offline never": (5, "model me/never is not on this machine: run once without --offline"),
    "offline other": (5, "model me/model is not on this machine at revision 'v9': run once without --offline"),
    "unreachable": (5, f"the hub cannot be reached for model me/model (no network?): {INSTEAD}"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_trouble_has_its_sentence(session, name):
    code, text = FAULTS[name]
    assert (session[name]["exit"], session[name]["text"]) == (code, text.replace("URL", session["url"]))


@pytest.mark.parametrize("name", ["no json", "deep json"])
def test_what_is_no_json_is_said(session, name):
    assert session[name]["exit"] == 4
    assert session[name]["text"].startswith("me/text/")
    assert "is no readable JSON" in session[name]["text"]


def test_a_listed_name_that_leaves_the_repository_is_not_a_file_of_it(session):
    assert session["escape"]["sizes"] == {"model_index.json": 2}
