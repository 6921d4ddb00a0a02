"""The toy of the family that a module tests, drawn by us and by plain diffusers: test_flux.py has that of flux."""

import pytest
from diffusers import DiffusionPipeline

from runner.models import toys
from tests.models.drawing import built, load


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    """The family's toy, saved."""
    family = request.module.__name__.rpartition("test_")[2]
    path = tmp_path_factory.mktemp(family)
    getattr(toys, family)(path)
    return path


@pytest.fixture(scope="module")
def ours(folder):
    """The family that draws it."""
    return built(folder)


@pytest.fixture(scope="module")
def plain(folder):
    """The pipeline that its model_index.json names."""
    return load(DiffusionPipeline, folder)
