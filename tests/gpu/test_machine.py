"""The GPU by its name and its memory; one is not shared by two processes."""

import json

import pytest
import torch

from runner.cli import main
from runner.doctor import machine
from runner.doctor.probe import probe
from tests.gpu.runs import DEVICE, pixels, run
from tests.training.finetune import settled

FEW = {"max_train_steps": 2}


def test_the_doctor_names_it():
    check = next(check for check in machine.devices(probe(["torch"])["device"]) if check.name == "GPU")
    assert check.status == "ok"
    assert torch.cuda.get_device_name(0) in check.found


def test_a_run_takes_it_by_itself_and_names_it(here):
    values = pixels(training=FEW)
    folder = run({**values, "compute": {}})
    (session,) = json.loads((folder / "run.json").read_text())["sessions"]
    assert session["hardware"] == torch.cuda.get_device_name(0)
    compute = settled(folder)["compute"]
    assert compute["device"] == DEVICE
    assert compute["mixed_precision"] == ("bf16" if torch.cuda.is_bf16_supported() else "fp16")
    assert compute["allow_tf32"] and not (compute["channels_last"] or compute["compile"])


def test_what_is_shown_is_its_memory(here, capsys):
    held = torch.empty(5 * 2**30, dtype=torch.uint8, device=DEVICE)
    run(pixels(training=FEW))
    capsys.readouterr()
    assert main(["run", "recipe.yaml", "--fresh"]) == 0
    del held
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "2 steps in" in line]
    assert float(line.split(" GiB")[0].split()[-1]) >= 5


def test_two_processes_do_not_share_it(here, capsys):
    if torch.cuda.device_count() != 1:
        pytest.skip("several GPUs are here")
    run(pixels(training=FEW, compute={"processes": 2}), code=5)
    assert "compute.processes: 2 processes take a GPU each, and 1 is here: write 1" in capsys.readouterr().err
