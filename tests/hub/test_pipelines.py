"""Whole pipelines of the hub: looked at without a trace, fetched without a surplus, and there offline afterwards."""

import pytest
from diffusers import DiffusionPipeline

from runner.models import toys
from tests.fake_hub import serve
from tests.hub.ask_models import digest
from tests.hub.conftest import Hub
from tests.single_file_maker import write_checkpoint

DEFAULT = "stable-diffusion-v1-5/stable-diffusion-v1-5"  # where diffusers finds the configuration of such a checkpoint


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    top, home = tmp_path_factory.mktemp("toys"), tmp_path_factory.mktemp("hf")
    toys.stable_diffusion(top / "sd")
    write_checkpoint(top / "sd", top / "all.safetensors")
    files = {p.relative_to(top / "sd").as_posix(): p.read_bytes() for p in (top / "sd").rglob("*") if p.is_file()}
    surplus = {"unet/diffusion_pytorch_model.bin": b"pickle", "pipeline.py": b"raise SystemExit", "README.md": b"#"}
    checkpoint = {"all.safetensors": (top / "all.safetensors").read_bytes()}
    folder, single = {"id": "me/sd", "load": {"file": None}}, {"id": "me/single", "load": {"file": "all.safetensors"}}
    repositories = {"me/sd": files | surplus, "me/single": checkpoint, DEFAULT: files | surplus}
    asked = []
    with serve(repositories, None, asked) as url:
        answers = dict(zip(["folder", "single"], Hub(url, home).ask(folder, single), strict=True))
    offline = [{**question, "offline": True} for question in (folder, single)]
    answers["folder offline"], answers["single offline"] = Hub(url, home).ask(*offline)
    (home / "hub" / f"models--{DEFAULT.replace('/', '--')}").rename(home / "away")
    answers["unconfigured"] = Hub(url, home).ask(offline[1])[0]
    pipe = DiffusionPipeline.from_pretrained(top / "sd", dtype=None)
    digests = {name: digest(getattr(pipe, name)) for name in ("unet", "vae", "text_encoder")}
    return answers | {"digests": digests, "asked": asked}


@pytest.mark.parametrize("name", ["folder", "single", "folder offline", "single offline"])
def test_the_weights_are_those_of_the_folder(session, name):
    assert session[name]["parts"] == session["digests"]


def test_nothing_stays_before_the_weights_are_wanted(session):
    assert session["folder"]["before"] == []
    assert not [path for path in session["single"]["before"] if "me--single" in path]


def test_no_surplus_is_fetched(session):
    fetched = [line for line in session["asked"] if line.startswith("GET") and "/resolve/" in line]
    assert not [line for line in fetched if ".bin" in line or ".py" in line or "README" in line]
    assert not [line for line in fetched if DEFAULT in line and ".safetensors" in line]


def test_a_checkpoint_without_a_cached_configuration_says_so_before_it_asks(session):
    answer = session["unconfigured"]
    assert answer["exit"] == 5
    assert answer["text"] == (
        f"me/single/all.safetensors holds no configuration, and {DEFAULT}, which describes it, cannot be read: "
        "write model.config with a diffusers folder of the same kind "
        f"(model {DEFAULT} is not on this machine: run once without --offline)"
    )
