"""The same again: settled.yaml alone repeats a run to the byte, and so does a picture; settling settles to itself."""

import json
import re
import shutil
from pathlib import Path

import pytest

from runner import shipped_files
from runner.captioning.toy import toy as captioner
from runner.cli import main
from runner.language.recipe import read, to_yaml
from runner.models import toys
from runner.outputs.png import is_png
from runner.outputs.png import read as texts
from runner.settle.settled import settle
from runner.smoke import rehearsal
from tests.captioning.conftest import noise
from tests.conftest import each

TRAINED = "{max_train_steps: 4, batch_size: 2, learning_rate: 1e-3, checkpointing_steps: 2, sample_steps: 2}"
PIXELS = "model: {type: pixel_unet, block_out_channels: [16, 16], layers_per_block: 1, norm_num_groups: 8}"
SMALL = "num_inference_steps: 4, height: 32, width: 32"
RUNS = {
    "pixels": f"""
data: {{type: folder, id: ./pictures, resolution: 16}}
{PIXELS}
scheduler: {{type: DDPM}}
training: {TRAINED}
sampling: {{num_images: 2, num_inference_steps: 3, noise_preview: [0, 500], trajectory: 3}}
""",
    "mixed": f"""
data: {{type: mixed, resolution: 16, sources: [{{type: folder, id: pictures}}, {{type: folder, id: ../others}}]}}
{PIXELS}
scheduler: {{type: DDPM}}
training: {TRAINED}
sampling: {{num_images: 2, num_inference_steps: 3}}
""",
    "drawn": f"""
model:
  type: pretrained
  id: ./sd
  embeddings: [{{id: ./easy.safetensors, token: easy}}]
  loras: [{{id: ./style.safetensors, weight: 0.5}}]
sampling: {{prompts: [a red flower], negative_prompt: easy, num_images: 2, init_image: ../others/4.png, {SMALL}}}
""",
    "lora": f"""
data: {{type: folder, id: ./pictures, resolution: 32, instance_prompt: a flower}}
model: {{type: pretrained, id: ./sd}}
adapter: {{type: lora, rank: 2}}
training: {TRAINED}
sampling: {{prompts: [a red flower], num_images: 2, {SMALL}}}
""",
    "captions": """
data: {type: folder, id: ./pictures, caption: {id: ./captioner, max_new_tokens: 8}}
""",
}


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """What the recipes name: pictures, a model and what is laid over it, a captioner."""
    root = tmp_path_factory.mktemp("things")
    for folder, count in (("home/pictures", 4), ("others", 6)):
        (root / folder).mkdir(parents=True)
        for seed in range(count):
            noise(seed, (32, 32)).save(root / folder / f"{seed}.png")
    toys.stable_diffusion(root / "home" / "sd")
    toys.lora(root / "home" / "style.safetensors", root / "home" / "sd")
    toys.embedding(root / "home" / "easy.safetensors")
    captioner(root / "home" / "captioner")
    return root


@pytest.fixture
def first(here, things, monkeypatch, request):
    """The folder of a run of the recipe `kind`, whose paths are relative; the working directory is the recipe's."""
    home = shutil.copytree(things, here / "things") / "home"
    monkeypatch.chdir(home)
    kind = request.param
    Path("it.yaml").write_text(f"version: 1\nname: it\ndescription: Some {kind}.\nseed: 3\n{RUNS[kind]}")
    assert main(["run", "it.yaml", "--quiet"]) == 0
    return home / "outputs" / "it" / "001"


def files(run):
    """All that a run leaves, without what tells of the time and the place of it."""
    found = {path.relative_to(run).as_posix(): path for path in run.rglob("*") if path.is_file()}
    kept = {name: path.read_bytes() for name, path in found.items() if name not in ("run.json", "recipe.yaml")}
    if "log.jsonl" in kept:
        kept["log.jsonl"] = [
            {key: value for key, value in json.loads(line).items() if "per_second" not in key}
            for line in kept["log.jsonl"].splitlines()
        ]
    if "sample.yaml" in kept:  # its first line names the folder
        kept["sample.yaml"] = kept["sample.yaml"].split(b"\n", 1)[1]
    return kept


def assert_same(one, other):
    one, other = files(one), files(other)
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


def diff(capsys, a, b):
    capsys.readouterr()
    assert main(["diff", str(a), str(b)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("first", each(RUNS, few=["drawn", "pixels"]), indirect=True)
def test_settled_yaml_alone_repeats_a_run_to_the_byte(first, here, monkeypatch, capsys):
    (here / "elsewhere").mkdir()
    shutil.copy(first / "settled.yaml", here / "elsewhere" / "copy.yaml")
    monkeypatch.chdir(here / "elsewhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "another cache"))  # nothing that the first run computed
    assert main(["run", "copy.yaml", "--quiet"]) == 0
    second = here / "elsewhere" / "outputs" / "it" / "001"
    assert_same(first, second)
    assert diff(capsys, first, second) == "identical\n"


@pytest.mark.parametrize("first", each([kind for kind in RUNS if kind != "captions"], few=["drawn"]), indirect=True)
def test_a_picture_repeats_its_run_where_its_paths_lead(first, capsys):
    picture = first / "samples" / "00001.png"
    assert diff(capsys, first, picture) == diff(capsys, picture, first) == "identical\n"
    assert main(["run", str(picture), "--quiet"]) == 0
    assert_same(first, first.with_name("002"))


@pytest.mark.parametrize("first", ["drawn"], indirect=True)
def test_what_leaves_the_machine_says_nothing_of_it(first, here):
    carried = [text for path in first.rglob("*.png") if is_png(path) for text in texts(path).values()]
    assert len(carried) > 3 and not any(str(here) in text for text in carried)
    assert re.search(r"^# as given: sampling.init_image: \.\./others/4\.png$", settled(first), re.MULTILINE)
    assert re.search(r"^  init_image: /.*/others/4\.png$", settled(first), re.MULTILINE)
    assert "a red flower <lora:style:0.5>\nNegative prompt: easy" in "".join(carried)


def settled(run):
    return (run / "settled.yaml").read_text()


@pytest.mark.parametrize("first", ["drawn"], indirect=True)
def test_a_path_that_was_changed_is_carried_as_it_is_now(first, capsys):
    Path("new.yaml").write_text(re.sub(r"(?m)^(  init_image: .*)/4.png$", r"\1/5.png", settled(first)))
    assert main(["run", "new.yaml", "--quiet"]) == 0
    recipe = texts(first.with_name("002") / "samples" / "00000.png")["recipe"]
    assert re.search(r"init_image: /.*/others/5\.png$", recipe, re.MULTILINE)
    assert "id: ./sd\n" in recipe
    assert diff(capsys, first, first.with_name("002")).startswith("sampling.init_image: /")


NAMES = [name for name, _, _ in shipped_files.recipes()]


@pytest.mark.parametrize("name", each(NAMES, few=["counterfeit_sample", "quickstart", "sd_textual_inversion"]))
def test_a_settled_recipe_settles_to_itself(name, here):
    recipe = read(shipped_files.find(name))[0]
    (here / "toys").mkdir()
    Path("small.yaml").write_text(to_yaml(rehearsal(recipe, here / "toys"), header=False))  # its models are here
    once = settle(read("small.yaml")[0], offline=True)
    Path("settled.yaml").write_text(once.text)
    again = settle(read("settled.yaml")[0], offline=True)
    assert again.values == once.values
    assert again.text == once.text
