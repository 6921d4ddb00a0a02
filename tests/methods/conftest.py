"""Toys to learn on, and the settled values of a recipe that trains them."""

import pytest

from runner.models import toys


@pytest.fixture(scope="session", params=["stable_diffusion", "stable_diffusion_xl"])
def folder(request, tmp_path_factory):
    """A toy of each family that has adapters, saved."""
    path = tmp_path_factory.mktemp(request.param)
    getattr(toys, request.param)(path)
    return path
