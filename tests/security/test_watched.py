"""Runs under an audit hook: nothing is read, written, started, asked or run but what the recipe declares."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.conftest import ROOT
from tests.corpus.table import toy
from tests.fake_hub import serve

TRAPS = ("torch.py", "PIL.py", "yaml.py", "json.py", "numpy.py", "sitecustomize.py", "usercustomize.py", "conftest.py")
SETTINGS = (".env", "setup.cfg", "pyproject.toml", ".netrc", "accelerate_config.yaml", "runner/__init__.py")

PYTHON = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")]
PYTHON += [Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve() / "lib"]
OURS = [ROOT / name for name in ("runner", "schemas", "recipes", "tests", "pyproject.toml")]
SYSTEM = [
    *(Path("/proc"), Path("/sys")),  # memory, processors
    *(Path("/dev/null"), Path("/dev/urandom")),
    *(Path("/lib"), Path("/lib64"), Path("/usr/lib"), Path("/usr/local/lib")),  # shared libraries
    *(Path("/etc/localtime"), Path("/usr/share/zoneinfo")),  # what time it is here
]
HARMLESS = [
    ["network", "socket.bind [('::1', 0)]"],  # urllib3 asks the system whether it knows IPv6; nobody can answer
]


class Seen:
    """What a watched process did.

    Args:
        log: the hook's file.
        place: the working directory.
        code, text: how the process ended, and what it said.
    """

    def __init__(self, log, place, code, text):
        self.place, self.code, self.text = place.resolve(), code, text
        self.events = [event for event in map(json.loads, log.read_text().splitlines()) if event not in HARMLESS]

    def of(self, *kinds):
        return {what for kind, what in self.events if kind in kinds}

    def outside(self, kinds, *roots):
        """The paths of these kinds that lie below none of the roots."""
        return {what for what in self.of(*kinds) if not any(Path(what).is_relative_to(root) for root in roots)}


def watched(place, *arguments, module="watch", environment=()):
    """The command in a process of its own, with the hook, in the folder `place`."""
    log = place.with_name(f"{place.name}.jsonl")
    scratch = place.with_name(f"{place.name}-tmp")
    scratch.mkdir(exist_ok=True)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "XDG_", "TORCH"))}
    env |= {"PYTHONPATH": str(ROOT), "HOME": str(place.with_name("home")), "XDG_CACHE_HOME": str(place / "cache")}
    env |= {"TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1", **dict(environment)}
    command = [sys.executable, "-P", "-m", f"tests.security.{module}", str(log), *map(str, arguments)]
    ended = subprocess.run(command, cwd=place, env=env, text=True, capture_output=True, check=False)
    return Seen(log, place, ended.returncode, ended.stdout + ended.stderr)


def assert_kept_to(seen, *sources, name):
    """Nothing was done but what a recipe of this name declares with these sources."""
    scratch = seen.place.with_name(f"{seen.place.name}-tmp")
    written = [seen.place / "outputs" / name, seen.place / "cache" / "recipe", scratch, Path("/dev/null")]
    made = {str(seen.place / folder) for folder in ("outputs", "cache")}
    assert seen.of("process", "network", "pickle") == set()
    assert seen.outside(["write", "change"], *written) <= made
    assert seen.outside(["read"], *written, *sources, *PYTHON, *OURS, *SYSTEM) == set()
    assert seen.outside(["list"], *written, *sources, *PYTHON, *OURS, *SYSTEM, ROOT) == set()
    assert_ran_only_what_is_installed(seen)


def assert_ran_only_what_is_installed(seen):
    """Nothing but Python, its packages, this project and the system's libraries (which may lack a path) was run."""
    assert {what for what in seen.outside(["code"], *PYTHON, *OURS, *SYSTEM) if "/" in what} == set()


def trapped(place, *folders):
    """Puts what Python, or a library, might pick up by its name into the working directory and these folders."""
    for folder in ("", *folders):
        for trap in (*TRAPS, *SETTINGS):
            path = place / folder / trap
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"open({str(place / 'owned')!r}, 'w')\n" if trap.endswith(".py") else "[x]\n")


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def pictures(folder):
    folder.mkdir()
    for number in range(6):
        Image.new("RGB", (40, 40), (40 * number, 90, 200)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a square of the shade {number}")


def test_a_training_from_a_folder_keeps_to_what_it_declares(place):
    pictures(place / "pictures")
    trapped(place, "pictures")
    data = {"type": "folder", "id": "./pictures", "resolution": 16}
    (place / "recipe.yaml").write_text(yaml.safe_dump({**toy(), "data": data}))
    seen = watched(place, "run", "recipe.yaml", "--quiet")
    assert seen.code == 0, seen.text
    assert_kept_to(seen, place / "recipe.yaml", place / "pictures", name="toy")
    assert not (place / "owned").exists()
    assert seen.of("write") != set()


@pytest.mark.slow
def test_processes_that_train_together_are_the_command_itself(place):
    (place / "recipe.yaml").write_text(yaml.safe_dump(toy()))
    words = ("run", "recipe.yaml", "--quiet", "compute.processes=2")
    seen = watched(place, *words)
    assert seen.code == 0, seen.text
    command = [sys.executable, "-P", "-m", "runner", *words]
    started = {event for event in seen.of("process") if not event.startswith("subprocess.Popen ('nvidia-smi'")}
    assert started == {f"subprocess.Popen {(sys.executable, command)}"}
    connected = {event for event in seen.of("network") if event.startswith("socket.connect")}
    assert all("'127.0.0.1'" in event or "'localhost'" in event for event in connected), connected
    assert (place / "outputs" / "toy" / "001" / "model").is_dir()


@pytest.mark.slow
def test_what_is_compiled_is_compiled_by_this_machine_and_kept_in_the_cache(place):
    blocks = {"block_out_channels": [8], "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
    recipe = toy(model={**blocks, "add_attention": False}, compute={"device": "cpu", "compile": True})
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    kept = place.resolve() / "cache" / "recipe" / "compiled"
    for seen in (watched(place, "run", "recipe.yaml", "--quiet", "--fresh") for _ in range(2)):
        assert seen.code == 0, seen.text
        started = {event.split("[")[1].split(",")[0].strip("']") for event in seen.of("process")}
        assert started <= {"g++", "openssl", sys.executable}
        assert all("cdll.LoadLibrary" in event for event in seen.of("process") if sys.executable in event)
        assert seen.of("network") == set()
        assert all(name.startswith(("torch.", "collections.", "builtins.")) for name in seen.of("pickle"))
        assert {what for what in seen.outside(["code"], *PYTHON, *OURS, *SYSTEM, kept) if "/" in what} == set()
        made, compiled = list(kept.rglob("*.so")), {event for event in seen.of("process") if ".main.cpp" in event}
    assert made and compiled == set()  # the second finds all that the first has made


def validated(place, *command):
    """`validate` by this command, in a working directory full of traps."""
    program = Path(sys.executable).with_name(command[0])
    if not program.exists():
        pytest.skip("recipe is not installed as a command here")
    trapped(place)
    (place / "recipe.yaml").write_text(yaml.safe_dump(toy()))
    arguments = [program, *command[1:], "validate", "recipe.yaml"]
    return subprocess.run(arguments, cwd=place, text=True, capture_output=True, check=False)


@pytest.mark.parametrize("command", [["recipe"], ["python", "-P", "-m", "runner"]], ids=" ".join)
def test_the_command_imports_nothing_from_the_working_folder(place, command):
    ended = validated(place, *command)
    assert (ended.returncode, ended.stdout) == (0, "recipe.yaml: ok\n"), ended.stderr
    assert not (place / "owned").exists()


def test_python_itself_imports_from_the_working_folder(place):
    validated(place, "python", "-m", "runner")
    assert (place / "owned").exists()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A tiny Stable Diffusion, an embedding and a LoRA for it."""
    from runner.models import toys

    folder = tmp_path_factory.mktemp("models")
    toys.stable_diffusion(folder / "sd")
    toys.embedding(folder / "easy.safetensors")
    toys.lora(folder / "lora.safetensors", folder / "sd")
    return folder


@pytest.mark.slow
def test_drawing_with_a_local_model_keeps_to_what_it_declares(place, models):
    trapped(place)
    model = {"type": "pretrained", "id": str(models / "sd"), "loras": [{"id": str(models / "lora.safetensors")}]}
    model["embeddings"] = [{"id": str(models / "easy.safetensors"), "token": "easy"}]
    sampling = {"prompts": ["an easy flower"], "num_inference_steps": 2, "height": 32, "width": 32}
    recipe = {"version": 1, "name": "drawn", "model": model, "sampling": sampling}
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    seen = watched(place, "run", "recipe.yaml", "--quiet")
    assert seen.code == 0, seen.text
    assert_kept_to(seen, place / "recipe.yaml", models, name="drawn")
    assert not (place / "owned").exists()


@pytest.mark.slow
def test_a_model_of_the_hub_is_asked_of_the_hub_and_nobody_else(place, models):
    sampling = {"prompts": ["a flower"], "num_inference_steps": 2, "height": 32, "width": 32}
    recipe = {"version": 1, "name": "drawn", "model": {"type": "pretrained", "id": "me/sd"}, "sampling": sampling}
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    files = {path.relative_to(models / "sd").as_posix(): path for path in (models / "sd").rglob("*") if path.is_file()}
    home = place.with_name("hub")
    with serve({"me/sd": {name: path.read_bytes() for name, path in files.items()}}) as url:
        hub = {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "no_proxy": "*"}
        seen = watched(place, "run", "recipe.yaml", "--quiet", environment=hub)
    assert seen.code == 0, seen.text
    host, port = url.removeprefix("http://").split(":")
    asked = seen.of("network")
    assert asked and all(f"'{host}', {port}" in event for event in asked), asked
    assert seen.of("process", "pickle") == set()
    made = {str(place.resolve() / folder) for folder in ("outputs", "cache")} | {str(home.parent.resolve())}
    kept = [place.resolve() / "outputs" / "drawn", home.resolve(), place.with_name(f"{place.name}-tmp").resolve()]
    assert seen.outside(["write", "change"], *kept, Path("/dev/null")) <= made
    assert_ran_only_what_is_installed(seen)


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [None, {"type": "lora", "rank": 2}])
def test_fine_tuning_keeps_to_what_it_declares(place, models, adapter):
    pictures(place / "pictures")
    trapped(place, "pictures")
    recipe = {
        **{"version": 1, "name": "tuned", "model": {"type": "pretrained", "id": str(models / "sd")}},
        "data": {"type": "folder", "id": "./pictures", "resolution": 32},
        "training": {"max_train_steps": 2, "batch_size": 2, "learning_rate": 1e-3},
        "sampling": {"prompts": ["a square"], "num_inference_steps": 2, "height": 32, "width": 32},
        **({"adapter": adapter} if adapter else {}),
    }
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    seen = watched(place, "run", "recipe.yaml", "--quiet")
    assert seen.code == 0, seen.text
    assert_kept_to(seen, place / "recipe.yaml", place / "pictures", models, name="tuned")
    assert not (place / "owned").exists()


@pytest.mark.slow
def test_every_security_row_of_the_corpus_keeps_to_its_folder(place):
    seen = watched(place, place, module="rows")
    assert seen.code == 0, seen.text
    scratch = seen.place.with_name(f"{seen.place.name}-tmp")
    assert seen.of("process", "network", "pickle") == set()
    assert seen.outside(["write", "change"], seen.place, scratch, Path("/dev/null")) == set()
    assert seen.outside(["read", "list"], seen.place, scratch, *PYTHON, *OURS, *SYSTEM, ROOT) == set()
    assert_ran_only_what_is_installed(seen)
