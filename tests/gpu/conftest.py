"""Tests of what only a GPU does. They run alone, by `python -m pytest tests/gpu`, and are skipped where none is."""

import gc

import pytest
import torch

from tests.training.conftest import toy as toy


@pytest.fixture(scope="session", autouse=True)
def gpu():
    """The first GPU."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU is here, or it is hidden from tests that do not run alone")


@pytest.fixture(autouse=True)
def as_before(gpu):
    """What a run sets for its whole process is not left to the next test, nor its memory."""
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.cuda.set_sync_debug_mode("default")
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
    gc.collect()
    torch.cuda.empty_cache()
