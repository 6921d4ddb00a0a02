"""Toys that learn."""

from tests.training.conftest import toy  # noqa: F401 - the fixture
