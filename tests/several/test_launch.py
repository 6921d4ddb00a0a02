"""The processes as launchers start them: by `recipe run`, and by torchrun, which begins again when one is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml

from tests.conftest import ROOT
from tests.corpus.table import toy
from tests.data.test_hub import parquet
from tests.fake_hub import serve
from tests.faults.runs import newest
from tests.several.test_command import weights

TRAINING = {"max_train_steps": 3000, "batch_size": 4, "checkpointing_steps": 10, "checkpoints_total_limit": 2}
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1"]
RUN = ["-P", "-m", "runner", "run", "recipe.yaml"]


@pytest.fixture
def started(here):
    """A command that has reached its second checkpoint, and what waits for its end."""
    processes = []

    def start(*words, processes_asked=1, steps=3000):
        compute = {"mixed_precision": "fp32", "processes": processes_asked}
        (here / "recipe.yaml").write_text(
            yaml.safe_dump(toy(training={**TRAINING, "max_train_steps": steps}, compute=compute))
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        said = (here / "said").open("w")
        process = subprocess.Popen([sys.executable, *words], stdout=said, stderr=said, env=environment)
        processes.append(process)
        reached = here / "outputs" / "toy" / "001" / "checkpoints" / "step-000020"
        while not reached.exists():
            assert process.poll() is None, (here / "said").read_text()
            time.sleep(0.05)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


def record(here):
    return json.loads((newest(here) / "run.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_launcher_stops_all_with_a_checkpoint(here, started, number):
    process = started(*RUN, processes_asked=2)
    workers = psutil.Process(process.pid).children()
    process.send_signal(number)
    assert process.wait(120) == 128 + number
    said = (here / "said").read_text()
    assert said.count("its state is saved: the same command goes on with outputs/toy/001") == 1, said
    assert len(workers) == 2 and not any(worker.is_running() for worker in workers)
    kept = sorted(path.name for path in (newest(here) / "checkpoints").iterdir())
    assert f"stopped at step {int(kept[-1].removeprefix('step-'))} of 3000" in said
    assert record(here)["state"] == "interrupted"


@pytest.mark.slow
def test_a_killed_process_is_begun_anew_by_torchrun_and_the_run_goes_on(here, started):
    process = started(*TORCHRUN, "--no-python", sys.executable, *RUN, steps=60)
    workers = [child for child in psutil.Process(process.pid).children() if "recipe.yaml" in child.cmdline()]
    assert len(workers) == 2
    workers[1].kill()
    assert process.wait(200) == 0, (here / "said").read_text()
    said = (here / "said").read_text()
    assert "gone without a word" in said and ": the launcher begins it again by itself" in said
    assert int(re.search(r"going on from step (\d+)", said)[1]) >= 20  # there was that one already
    assert record(here)["state"] == "done" and len(record(here)["sessions"]) == 2
    steps = [json.loads(line)["step"] for line in (newest(here) / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 61))


@pytest.mark.slow
def test_who_is_killed_under_recipe_run_ends_it_with_a_sentence(here, started):
    process = started(*RUN, processes_asked=2)
    psutil.Process(process.pid).children()[1].kill()
    assert process.wait(120) == 5
    said = (here / "said").read_text()
    assert said.count("recipe: ") == 1 and "another process of this run is gone without a word" in said
    assert record(here)["state"] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "state"), [(signal.SIGKILL, 5, "failed"), (signal.SIGTERM, 143, "interrupted")]
)
def test_a_signal_to_one_process_while_pictures_are_decoded_ends_all_with_a_sentence(here, number, code, state):
    data = {"type": "builtin", "num_images": 20000, "resolution": 64}
    recipe = toy(data=data, compute={"processes": 2, "mixed_precision": "fp32"})
    (here / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    said = (here / "said").open("w")
    words = [sys.executable, *RUN, "--cache-dir", "cache"]
    process = subprocess.Popen(words, stdout=said, stderr=said, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        while not list(here.glob("cache/pictures/.tmp-*/pixels.u8")):
            assert process.poll() is None, (here / "said").read_text()
            time.sleep(0.05)
        time.sleep(1)
        psutil.Process(process.pid).children()[1].send_signal(number)
        assert process.wait(120) == code
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    text = (here / "said").read_text()
    assert text.count("recipe: ") == 1, text
    assert ("stopped: the same command goes on with" if code == 143 else "is gone without a word") in text
    assert "c10d" not in text
    assert record(here)["state"] == state


@pytest.mark.slow
@pytest.mark.parametrize("classes", [False, True])
def test_two_processes_learn_from_a_streamed_set_what_one_does(here, classes):
    files = {f"data/train-{i:05d}-of-00004.parquet": parquet(8, 8 * i) for i in range(4)}
    data = {"type": "hub", "id": "me/flowers", "streaming": True, "resolution": 16}
    training = {"max_train_steps": 6, "batch_size": 4}
    reads = []
    for count in (1, 2):
        recipe = toy(name=f"by-{count}", training=training, compute={"processes": count, "mixed_precision": "fp32"})
        recipe["data"] = data
        if classes:
            recipe["model"]["num_class_embeds"], data["label_column"] = "auto", "text"
        (here / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        asked = []
        with serve({"me/flowers": files}, asked=asked) as url:
            environment = {
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "HF_ENDPOINT": url,
                "HF_HOME": str(here / f"hf-{count}"),
            }
            environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "no_proxy": "*"}
            words = [sys.executable, *RUN, "--cache-dir", f"cache-{count}"]
            result = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        said = result.stdout + result.stderr
        assert result.returncode == 0, said
        assert said.count("32 of 32 pictures used") == 1, said
        reads.append([sum(line.startswith("GET") and path in line for line in asked) for path in files])
    ours, theirs = (weights(here / "outputs" / f"by-{count}" / "001") for count in (1, 2))
    assert (ours - theirs).norm() < 1e-4 * theirs.norm()
    assert len({path.name for path in here.glob("cache-?/pictures/*")}) == 1
    once = 2 if classes else 1  # for the classes by one process, whatever the number
    assert reads == [[1 + once, once, once, once], [2 + once, once, once, once]]  # the first for its columns, by each
    assert not list(here.glob("hf-*/**/*.parquet"))
