"""A run stopped at every step of two epochs ends bitwise as one that was never stopped: weights, average, optimizer,
log, pictures.

Once as a single run that is stopped at every step, each time gone on with by a fresh process; and as many runs that
are stopped once, at each step. What takes no minutes of this is in tests/training/test_resume.py.
"""

import os
import signal
import subprocess
import sys

import pytest

from runner.models import toys
from tests.conftest import ROOT
from tests.corpus.table import toy
from tests.faults.forks import SIGNAL, Strike
from tests.faults.runs import RUN, differing, made, newest
from tests.training.finetune import recipe as tuning

STEPS = 5  # of 4 samples each: the second epoch of ten pictures begins within the third
LEARNING = {
    **{"num_train_epochs": 2, "max_train_steps": None, "batch_size": 2, "gradient_accumulation_steps": 2},
    **{"ema": {"decay": 0.9}, "lr_scheduler": "cosine", "lr_warmup_steps": 2, "logging_steps": 1},
    **{"sample_steps": 2, "checkpointing_steps": None, "checkpoints_total_limit": 1},
}
LORA = {"type": "lora", "rank": 2, "dropout": 0.1, "parts": ["unet", "text_encoder"]}
WORD = {"type": "textual_inversion", "token": "<rose>"}
KINDS = {"full": {"freeze": ["vae"]}, "lora": {"adapter": LORA}, "word": {"adapter": WORD}}
STOPPING = """
import sys
from runner.cli import main
from tests.faults.runs import stopped_after
with stopped_after(1):
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny Stable Diffusion."""
    folder = tmp_path_factory.mktemp("stable_diffusion")
    toys.stable_diffusion(folder)
    return folder


@pytest.fixture(params=["pixel", *KINDS])
def recipe(request, model, workers, precision):
    """What is trained, in a recipe that learns for two epochs and draws on the way and at the end."""
    compute = {"dataloader_num_workers": workers, "mixed_precision": precision}
    if request.param == "pixel":
        data = {"num_images": 10, "random_flip": True}
        return toy(data=data, training={**LEARNING, "learning_rate": 1e-3}, compute=compute)
    sampling = {"prompts": ["a red flower"], "num_images": 1, "num_inference_steps": 4, "height": 32, "width": 32}
    data = {"num_images": 10, "caption_dropout_rate": 0.1}
    values = tuning(model, data=data, training=LEARNING, sampling=sampling, compute=compute, **KINDS[request.param])
    return {**values, "name": "toy"}


def process(folder, *command):
    """A fresh process in `folder`: its exit code."""
    environment = {"PYTHONPATH": ROOT, "XDG_CACHE_HOME": folder / "cache"}
    return subprocess.run([sys.executable, *command], cwd=folder, env={**os.environ, **environment}).returncode


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_stopped_at_every_step_in_fresh_processes(place, recipe):
    never, always = place(recipe), place(recipe)
    assert process(never, "-m", "runner", *RUN) == 0
    for _ in range(STEPS):
        assert process(always, "-c", STOPPING, *RUN) == 128 + signal.SIGTERM
    assert process(always, "-m", "runner", *RUN) == 0
    assert differing(newest(always), made(newest(never))) == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_stopped_once_at_each_step(forks, place, recipe):
    never = place(recipe)
    assert forks(never, *RUN).code == 0
    for step in range(1, STEPS + 1):
        once = place(recipe)
        strike = Strike(SIGNAL, signal.SIGTERM, step, where="write *log.jsonl")
        assert forks(once, *RUN, strike=strike).code == 128 + signal.SIGTERM
        assert forks(once, *RUN).code == 0
        assert differing(newest(once), made(newest(never))) == []
