"""Recipes with models of the hub, by the command, against a hub of our own on this machine."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from runner.models import toys
from tests.fake_hub import COMMIT, serve

ROOT = Path(__file__).parents[2]
RECIPE = """\
version: 1
name: {name}
seed: 1
model:
  type: pretrained
  id: {id}
  embeddings: [{{id: me/extras, file: easy.safetensors, token: easy}}]
sampling: {{prompts: [a red flower], negative_prompt: easy, num_inference_steps: 2, height: 32, width: 32}}
"""
TROUBLES = {
    "gone/set": (4, "has no model gone/set"),
    "private/set": (4, "or it is private"),
    "gated/set": (4, "is gated"),
    "disabled/set": (4, "is disabled"),
    "busy/set": (5, "in 7 seconds"),
    "down/set": (5, "out of order (503)"),
}


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory with recipes, and the repositories of the hub."""
    place = tmp_path_factory.mktemp("place")
    toys.stable_diffusion(place / "toy")
    (place / "extras").mkdir()
    toys.embedding(place / "extras" / "easy.safetensors")
    (place / "local.yaml").write_text(
        RECIPE.format(name="local", id="./toy").replace(
            "me/extras, file: easy.safetensors", "./extras/easy.safetensors"
        )
    )
    for name, id in {"hub": "me/sd", **{name.replace("/", "-"): name for name in TROUBLES}}.items():
        (place / f"{name}.yaml").write_text(RECIPE.format(name=name, id=id))
    (place / "revision.yaml").write_text(RECIPE.format(name="revision", id="me/sd\n  revision: v9"))
    return place


@pytest.fixture(scope="module")
def session(place):
    """The answers of three processes: one with a hub, one without its address, one told to stay offline."""
    repositories = {"me/sd": files(place / "toy"), "me/extras": files(place / "extras")}
    repositories["me/sd"]["run_me.py"] = b"raise SystemExit('code was run')"
    with serve(repositories) as url:
        plan, data = commands(
            place, url, ["run", "hub.yaml", "--dry-run"], ["run", "hub.yaml", "--dry-run", "--format", "json"]
        )
        left = [path for path in (place / "hf").rglob("*") if path.is_file()]
        names = [name.replace("/", "-") for name in TROUBLES]
        asked = [["run", f"{name}.yaml"] for name in ("hub", "local", "revision", *names)]
        run, local, revision, *troubles = commands(place, url, *asked)
    offline = commands(place, url, ["run", "hub.yaml", "--offline"], ["run", "gone-set.yaml", "--offline"])
    unreachable = commands(place, url, ["run", "hub.yaml"])
    return {
        "plan": plan,
        "data": data,
        "left": left,
        "run": run,
        "local": local,
        "revision": revision,
        "troubles": dict(zip(TROUBLES, troubles, strict=True)),
        "offline": offline,
        "unreachable": unreachable[0],
    }


def commands(place, url, *asked):
    env = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(place / "hf"), "XDG_CACHE_HOME": str(place / "cache")}
    env |= {
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": "hf_planted",
        "no_proxy": "*",
        "PYTHONPATH": str(ROOT),
    }
    result = subprocess.run(
        [sys.executable, "-m", "tests.hub.commands"],
        input=json.dumps(asked),
        cwd=place,
        env=env,
        text=True,
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "hf_planted" not in result.stdout + result.stderr
    return json.loads(result.stdout)


def test_a_dry_run_says_what_would_be_downloaded_and_fetches_nothing(session, place):
    assert session["plan"]["code"] == 0, session["plan"]
    assert session["left"] == []
    needed = {file["name"]: file for file in json.loads(session["data"]["out"])["needed"]}
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert needed[weights]["size"] == (place / "toy" / weights).stat().st_size
    assert not any(file["here"] for file in needed.values())
    assert "easy.safetensors" in needed
    assert "run_me.py" not in needed
    assert re.search(r"downloads\s+\d+ files", session["plan"]["out"])


def test_the_pictures_are_those_of_the_same_folder_on_this_machine(session, place):
    assert session["run"]["code"] == session["local"]["code"] == 0, (session["run"], session["local"])
    one, other = (Image.open(place / "outputs" / name / "001" / "samples" / "00000.png") for name in ("hub", "local"))
    assert one.tobytes() == other.tobytes()
    settled = (place / "outputs" / "hub" / "001" / "settled.yaml").read_text()
    assert settled.count(COMMIT) == 2  # the model's revision and the embedding's
    assert not list((place / "hf").rglob("run_me.py"))


def test_a_cached_model_is_drawn_from_offline_and_without_a_hub(session, place):
    cached, never = session["offline"]
    assert cached["code"] == 0, cached
    assert never["code"] == 5
    assert "gone/set is not on this machine" in never["err"]
    assert session["unreachable"]["code"] == 5
    assert "the hub cannot be reached for model me/sd" in session["unreachable"]["err"]
    assert "--offline draws with a model that is on this machine" in session["unreachable"]["err"]


def test_no_such_revision(session):
    assert session["revision"]["code"] == 4, session["revision"]
    assert "has no revision 'v9'" in session["revision"]["err"]


@pytest.mark.parametrize("id", TROUBLES)
def test_each_trouble_of_the_hub_is_one_sentence(session, id):
    code, words = TROUBLES[id]
    answer = session["troubles"][id]
    assert answer["code"] == code, answer
    assert words in answer["err"]
    assert "Traceback" not in answer["err"]
    assert answer["err"].strip().count("\n") <= 1  # the recipe's name, and the sentence
