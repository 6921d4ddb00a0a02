"""Toys that learn."""

import pytest

from runner.models import toys


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """The folder of a tiny saved pipeline, by its name in `toys`."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            getattr(toys, name)(made[name])
        return made[name]

    return folder
