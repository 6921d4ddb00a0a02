"""What a recipe names on the hub is pinned to a commit: a run is repeated after every branch has moved."""

import re

import pytest

from runner.captioning.toy import toy as captioner
from runner.language import schemas
from runner.models import toys
from tests.data.test_hub import card, parquet
from tests.fake_hub import COMMIT, NEXT, serve
from tests.hub.test_commands import commands, files
from tests.single_file_maker import write_checkpoint

SMALL = "prompts: [a red flower], num_inference_steps: 4, height: 32, width: 32"
RECIPES = {
    "single": (
        6,  # repositories that it names
        f"""
model:
  type: pretrained
  id: me/single
  file: model.safetensors
  config: me/sd
  vae: {{id: me/vae, revision: main}}
  embeddings: [{{id: me/easy, token: easy}}]
  loras: [{{id: me/style}}, {{id: me/style, revision: main}}]
sampling: {{{SMALL}, negative_prompt: easy}}
""",
    ),
    "refined": (2, f"model: {{type: pretrained, id: me/sdxl}}\nsampling: {{{SMALL}, refiner: {{id: me/refiner}}}}\n"),
    "captions": (
        3,
        """
data:
  type: mixed
  sources: [{type: hub, id: me/flowers}, {type: hub, id: me/flowers, revision: main}]
  caption: {id: me/captioner, max_new_tokens: 8}
""",
    ),
}


def repositories(place, *, seed, count):
    """Models and data that differ by `seed` and `count`."""
    for name in ("sd", "sdxl", "refiner", "vae", "easy", "style", "single", "captioner"):
        (place / name).mkdir(parents=True)
    toys.stable_diffusion(place / "sd", seed=seed)
    toys.stable_diffusion_xl(place / "sdxl", seed=seed)
    toys.sdxl_refiner(place / "refiner", seed=seed)
    toys.vae(place / "vae", seed=seed)
    toys.embedding(place / "easy" / "easy.safetensors", seed=seed)
    toys.lora(place / "style" / "style.safetensors", place / "sd", seed=seed)
    write_checkpoint(place / "sd", place / "single" / "model.safetensors")
    captioner(place / "captioner")
    found = {f"me/{folder.name}": files(folder) for folder in place.iterdir()}
    found["me/flowers"] = {"README.md": card("license: mit"), "data/train-00000-of-00001.parquet": parquet(count)}
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory where every recipe was run, and again, and anew after the hub's branches had moved."""
    place = tmp_path_factory.mktemp("pinned")
    for name, (_, text) in RECIPES.items():
        (place / f"{name}.yaml").write_text(f"version: 1\nname: {name}\nseed: 1\n{text}")
    before, after = repositories(place / "a", seed=1, count=3), repositories(place / "b", seed=2, count=4)
    with serve(before) as url:
        answers = commands(place, url, *(["run", f"{name}.yaml"] for name in RECIPES))
    with serve(after, before=before) as url:
        again = [["run", f"outputs/{name}/001"] for name in RECIPES]
        answers += commands(place, url, *again, *(["run", f"{name}.yaml"] for name in RECIPES))
    assert [answer["code"] for answer in answers] == [0] * 9, [answer["err"] for answer in answers]
    return place


def kept(run):
    return {name: data for name, data in files(run).items() if re.match("settled.yaml|samples/|captions/", name)}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_run_is_repeated_after_every_branch_has_moved(place, name):
    first, again, anew = (kept(place / "outputs" / name / number) for number in ("001", "002", "003"))
    assert len(first) > 1
    assert again == first
    assert all(anew[file] != first[file] for file in first)
    assert commits(first) == [COMMIT] * RECIPES[name][0]
    assert commits(anew) == [NEXT] * RECIPES[name][0]


def commits(run):
    return re.findall(r'revision: "?([0-9a-f]{40})', run["settled.yaml"].decode())


def test_wherever_a_recipe_names_an_id_there_is_a_revision_beside_it():
    named = {}  # the place of an id -> whether a revision stands beside it
    for path, places in schemas.sections():
        keys = schemas.properties(places)
        named |= {(*path, "id"): "revision" in keys} if "id" in keys else {}
        for key, inner in keys.items():
            if "folder or hub id" in schemas.annotation(inner, "description"):
                named[*path, key] = f"{key}_revision" in keys
    assert {("data", "id"), ("model", "config"), ("sampling", "refiner", "id")} < named.keys()
    assert [place for place, pinned in named.items() if not pinned] == []
