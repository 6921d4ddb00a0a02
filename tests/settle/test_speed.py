"""Which fast settings a machine and a recipe get in place of `auto`."""

import json

import pytest

from runner import processor
from runner.cli import main
from runner.models import family_class, fast
from runner.models.family import Facts
from runner.settle import machine, speed
from tests.conftest import defaults
from tests.corpus.table import toy

MANY = 5_000
KEYS = ("channels_last", "compile", "eager_attention", "upcast_attention", "allow_tf32")
NONE = dict.fromkeys(KEYS, False)
ON_A_CPU = {**NONE, "eager_attention": True}
ON_A_GPU = {**NONE, "allow_tf32": True}
COMPILED = {"channels_last": True, "compile": True}


def values(device="cpu", mixed_precision="bf16", steps=100, data=(), training=(), model="pixel_unet", **compute):
    """A recipe that trains, its device and number format settled."""
    compute = defaults("compute.json", device=device, mixed_precision=mixed_precision, **compute)
    training = defaults("training.json", batch_size=4, learning_rate=1.0, max_train_steps=steps, **dict(training))
    return {"compute": compute, "data": dict(data), "training": training, "model": {"type": model}}


@pytest.fixture(autouse=True)
def able(monkeypatch):
    monkeypatch.setattr(processor, "has_bf16", lambda: True)
    monkeypatch.setattr("runner.settle.speed.lacking", lambda device: None)


def test_few_steps_are_not_worth_compiling():
    assert speed.settle(values(), 1000) == speed.settle(values(steps=MANY), None) == ON_A_CPU
    assert speed.settle(values(device="cuda"), 1000) == ON_A_GPU


def test_many_steps_are_worth_compiling_on_a_gpu():
    assert speed.settle(values(device="cuda", steps=MANY), None) == {**ON_A_GPU, **COMPILED}
    asked = values(device="cuda", steps=None, training={"num_train_epochs": 100})
    assert speed.settle(asked, 4 * MANY)["compile"]
    assert not speed.settle(asked, 4)["compile"]
    assert not speed.settle(asked, None)["compile"]


def test_on_a_cpu_only_more_steps_in_bf16_are():
    assert speed.settle(values(steps=2 * MANY), None) == {**ON_A_CPU, **COMPILED}
    assert speed.settle(values(mixed_precision="fp32", steps=10**6), None) == NONE
    several = {"processes": 2, "strategy": "ddp"}
    assert speed.settle(values(steps=10**6, **several), None) == ON_A_CPU


def test_on_a_cpu_without_instructions_for_bf16_nothing_is(monkeypatch):
    monkeypatch.setattr(processor, "has_bf16", lambda: False)
    assert speed.settle(values(steps=10**6), None) == NONE


def test_a_pretrained_model_attends_no_less_exactly(monkeypatch):
    assert speed.settle(values(model="pretrained"), None) == {**NONE, "upcast_attention": True}
    compiled = {**NONE, "compile": True, "channels_last": True}
    assert speed.settle(values(model="pretrained", compile=True), None) == compiled
    assert speed.settle(values(model="pretrained", mixed_precision="fp32"), None) == NONE
    assert speed.settle(values(model="pretrained", device="cuda"), None) == ON_A_GPU
    monkeypatch.setattr(processor, "has_bf16", lambda: False)
    assert speed.settle(values(model="pretrained"), None) == NONE


@pytest.mark.parametrize("model", ["pretrained", "latent_unet", "autoencoder_kl"])
def test_on_a_cpu_only_a_pixel_unet_is_compiled_by_itself(model):
    assert not speed.settle(values(model=model, steps=10**6), None)["compile"]
    assert speed.settle(values(device="cuda", model=model, steps=10**6), None)["compile"]


@pytest.mark.parametrize(
    "but",
    [
        {"device": "mps", "mixed_precision": "fp32"},
        {"data": {"aspect_ratio_buckets": {}}},
        {"training": {"gradient_checkpointing": True}},
        {"strategy": "fsdp", "processes": 2},
        {"compile": False},
    ],
)
def test_what_is_not_compiled_by_itself(but):
    assert not speed.settle(values(**{"device": "cuda", "steps": 10**6, **but}), None)["compile"]


def test_a_machine_without_a_compiler_compiles_nothing_by_itself(monkeypatch):
    monkeypatch.setattr("runner.settle.speed.lacking", lambda device: "the package triton")
    assert not speed.settle(values(device="cuda", steps=10**6), None)["compile"]


@pytest.mark.parametrize(
    "model, slicing, on", [("unet", False, True), ("unet", True, False), ("transformer", False, False)]
)
@pytest.mark.parametrize("key", ["eager_attention", "upcast_attention"])
def test_attention_is_another_where_there_is_one_for_it(key, model, slicing, on):
    asked = values(model="pretrained", attention_slicing=slicing)
    asked["compute"] |= {"eager_attention": False, "upcast_attention": False, key: True}
    found = speed.settle_model(asked, Facts("x", {model: {"cross_attention_dim": 8}}))
    assert found == {"eager_attention": False, "upcast_attention": False, key: on}


def test_a_transformer_has_no_such_attention(here, capsys):
    family_class("flux").toy(here / "flux")
    asked = {"version": 1, "name": "x", "model": {"type": "pretrained", "id": "./flux"}, "sampling": {"prompts": ["x"]}}
    (here / "x.yaml").write_text(json.dumps(asked))
    assert main(["run", "x.yaml", "--dry-run"]) == 0
    capsys.readouterr()
    for key in ("eager_attention", "upcast_attention"):
        assert main(["run", "x.yaml", "--dry-run", f"compute.{key}=true"]) == 1
        said = capsys.readouterr().err
        assert f"{key} is of UNets, and flux draws with a transformer: write auto or false" in said


def test_what_reads_no_prompt_has_no_attention_of_few_keys(here, capsys):
    (here / "x.yaml").write_text(json.dumps(toy()))
    assert main(["run", "x.yaml", "--dry-run", "compute.upcast_attention=true"]) == 1
    said = capsys.readouterr().err
    assert "upcast_attention is of models that read prompts, and pixel_unet reads none: write auto or false" in said


def test_scores_that_are_written_out_are_not_in_fp32_as_well():
    found = speed.settle(values(model="pretrained", eager_attention=True), None)
    assert found == {**NONE, "eager_attention": True}


def test_channels_lie_side_by_side_where_that_is_faster():
    asked = [values("cuda", "fp32"), values("cpu", "fp32"), values("cpu", "bf16"), values("mps", "fp32")]
    assert not any(speed.settle(each, None)["channels_last"] for each in asked)


@pytest.mark.parametrize("key", KEYS)
def test_what_is_written_is_taken(key):
    for wanted in (True, False):
        assert speed.settle(values(**{key: wanted}), None)[key] is wanted


def test_what_only_draws_stays_as_it_is():
    for device in ("cpu", "cuda"):
        recipe = {"compute": defaults("compute.json", device=device, mixed_precision="bf16")}
        assert speed.settle(recipe, None) == NONE


@pytest.mark.parametrize("there", [True, False])
def test_a_cpu_trains_in_bf16_where_it_has_instructions_for_it(monkeypatch, there):
    monkeypatch.setattr(processor, "has_bf16", lambda: there)
    trains = {"compute": defaults("compute.json", device="cpu"), "training": {}}
    assert machine.settle(trains)["mixed_precision"] == ("bf16" if there else "fp32")
    assert machine.settle({"compute": defaults("compute.json", device="cpu")})["mixed_precision"] == "fp32"


@pytest.mark.parametrize("asked, settled", [("auto", 0), (0, 0), (2, 2)])
def test_no_thread_prepares_batches_beside_those_of_a_cpu_unless_it_is_asked_for(asked, settled):
    compute = defaults("compute.json", device="cpu", dataloader_num_workers=asked)
    assert machine.settle({"compute": compute, "training": {}})["dataloader_num_workers"] == settled


def test_a_thread_prepares_batches_beside_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: True)
    compute = defaults("compute.json", device="cuda")
    assert machine.settle({"compute": compute, "training": {}})["dataloader_num_workers"] == 1


def test_what_compiling_needs_is_named(monkeypatch):
    monkeypatch.setattr(fast.shutil, "which", lambda name: None)
    assert fast.lacking("cpu") == "a C++ compiler (g++)"
    monkeypatch.setattr(fast.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(fast.sysconfig, "get_path", lambda name: "/nowhere")
    assert "headers" in fast.lacking("cpu")
    assert fast.lacking("mps") == "a CPU or an NVIDIA GPU"


@pytest.mark.parametrize("capability, fits", [((6, 1), False), ((7, 0), True), ((9, 0), True)])
def test_triton_makes_code_for_newer_gpus_only(monkeypatch, capability, fits):
    monkeypatch.setattr(fast, "find_spec", lambda name: name)
    monkeypatch.setattr(fast.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: capability)
    named = fast.lacking("cuda") == "a GPU of compute capability 7.0 or newer"
    assert named is not fits


def test_a_recipe_that_cannot_be_compiled_here_is_told_so(here, monkeypatch, capsys):
    monkeypatch.setattr("runner.settle.speed.lacking", lambda device: "a C++ compiler (g++)")
    assert main(["run", "quickstart", "compute.compile=true", "--dry-run"]) == 1
    assert (
        "compiling needs a C++ compiler (g++), which this machine lacks: write false, or add it"
        in capsys.readouterr().err
    )


def test_the_plan_names_what_is_on(here, monkeypatch, capsys):
    monkeypatch.setattr(processor, "has_bf16", lambda: True)
    assert main(["run", "quickstart", "compute.device=cpu", "--dry-run"]) == 0
    assert "device  cpu, bf16, eager_attention\n" in capsys.readouterr().out
    on = ["compute.channels_last=true", "compute.compile=true"]
    assert main(["run", "quickstart", "compute.device=cpu", *on, "--dry-run"]) == 0
    assert "device  cpu, bf16, channels_last, compile, eager_attention\n" in capsys.readouterr().out
