"""What the tests share."""

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may ask the real hub
os.environ.setdefault("OMP_NUM_THREADS", "1")  # toys are faster on one thread, and steady beside other work

ROOT = Path(__file__).resolve().parents[1]
GPU = ROOT / "tests" / "gpu"


def pytest_configure(config):
    """Tests behave alike on every machine: a GPU is there only where those of tests/gpu run alone."""
    asked = [config.invocation_params.dir / argument.partition("::")[0] for argument in config.args]
    if not all(path.resolve().is_relative_to(GPU) for path in asked):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # torch reads it when it first looks for a GPU


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps one state per process, and a run with another number format needs a new one."""
    yield
    import sys

    state = sys.modules.get("accelerate.state")
    if state is not None:
        state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def shared_data():
    """Real data beside the project, where there is some."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets are not beside the project")
    return folder


def defaults(file, **values):
    """A section with every default that its schema file gives."""
    from runner.language.resolve import fill
    from runner.language.schemas import Place, read

    return fill([Place(file, read(file))], values)


def each(values, *, few):
    """Parameters of a test: those in `few` always, the others where there is time."""
    return [value if value in few else pytest.param(value, marks=pytest.mark.slow) for value in values]
