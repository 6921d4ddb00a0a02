"""What the plan and the settling say of several processes."""

import json
from pathlib import Path

import pytest
import yaml

from runner.cli import main
from runner.settle import processes
from tests.corpus.table import toy


def planned(capsys, *words, **sections):
    """The plan of a toy, as JSON values."""
    Path("recipe.yaml").write_text(yaml.safe_dump(toy(**sections)))
    assert main(["run", "recipe.yaml", "--dry-run", "--format", "json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_plan_tells_of_each_process(here, capsys):
    section = {"batch_size": 4, "gradient_accumulation_steps": 2}
    alone, two, many = (planned(capsys, f"compute.processes={count}", training=section) for count in (1, 2, 4))
    assert [plan["processes"] for plan in (alone, two, many)] == [1, 2, 4]
    assert alone["training"]["memory"] == two["training"]["memory"]  # a micro-batch of each is as large
    assert many["training"]["memory"]["activations"] * 2 == alone["training"]["memory"]["activations"]
    for key in ("steps", "images", "flops", "checkpoint"):
        assert alone["training"][key] == two["training"][key] == many["training"][key]
    assert main(["run", "recipe.yaml", "--dry-run", "compute.processes=2"]) == 0
    said = capsys.readouterr().out
    assert "2 processes (ddp)" in said and "while training, in each of 2 processes" in said


def test_the_plan_tells_of_threads_that_prepare_batches(here, capsys):
    assert planned(capsys)["workers"] == 0
    assert planned(capsys, "compute.dataloader_num_workers=2")["workers"] == 2
    assert main(["run", "recipe.yaml", "--dry-run", "compute.dataloader_num_workers=2"]) == 0
    assert ", dataloader_num_workers 2\n" in capsys.readouterr().out


def test_parts_of_weights_take_parts_of_the_memory(here, capsys, monkeypatch):
    monkeypatch.setattr(processes, "problems", lambda *_: ())  # a CPU would be refused
    section = {"batch_size": 4, "ema": {"decay": 0.9}}
    whole, parts = (
        planned(capsys, "compute.processes=2", f"compute.strategy={strategy}", training=section)["training"]
        for strategy in ("ddp", "fsdp")
    )
    for key in ("weights", "gradients", "optimizer", "average"):
        assert parts["memory"][key] == whole["memory"][key] // 2
    assert parts["memory"]["activations"] == whole["memory"]["activations"]
    assert parts["checkpoint"] == whole["checkpoint"]


def test_one_process_has_nobody_to_share_weights_with(here, capsys):
    Path("recipe.yaml").write_text(yaml.safe_dump(toy()))
    assert main(["run", "recipe.yaml", "--dry-run", "compute.strategy=fsdp"]) == 0
    assert "fsdp has no effect in one process: compute.processes starts more" in capsys.readouterr().err


@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_more_processes_than_gpus_are_refused(gpus, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    compute = {"device": "cuda", "strategy": "ddp"}
    processes.require_devices(compute, max(1, gpus))
    are = {0: "none are here: write device: cpu", 1: "1 is here: write 1", 2: "2 are here: write 2"}[gpus]
    with pytest.raises(processes.EnvironmentFault, match=f"4 processes take a GPU each, and {are}"):
        processes.require_devices(compute, 4)


def test_without_a_training_one_process_draws():
    assert processes.settle({"compute": {"processes": 4, "strategy": "ddp"}}) == {"processes": 1, "strategy": "ddp"}


def test_fsdp_on_a_cpu_is_refused_where_the_machine_decides(here, capsys):
    Path("recipe.yaml").write_text(yaml.safe_dump(toy(compute={"processes": 2, "strategy": "fsdp"})))
    assert main(["run", "recipe.yaml", "--dry-run"]) == 1
    assert "fsdp needs GPUs: on a CPU accelerate trains as with ddp without saying so" in capsys.readouterr().err
