"""What is said of the hub's own words, and of a disk that is full."""

from pathlib import Path

import pytest

from runner.errors import EnvironmentFault, ModelError
from runner.hub import cache
from runner.hub.download import download
from runner.hub.faults import Asked, fault, said
from runner.hub.listing import Entry
from tests.data.conftest import Remembers

ASKED = Asked("model", "me/model", "model.vae.id", "v1")


def test_no_token_is_shown():
    assert said("401 for hf_abcDEF0123456789: no\nsecond line") == "401 for hf_***: no"
    error = fault(ValueError("Authorization: Bearer hf_secretsecret\x1b[31m"), ASKED)
    assert str(error) == "model me/model cannot be read (ValueError: Authorization: Bearer hf_***\\x1b[31m)"
    assert isinstance(error, ModelError)


def test_a_download_that_came_short_is_of_the_machine():
    error = fault(OSError("Consistency check failed: file should be of size 3 but has size 2"), ASKED)
    assert isinstance(error, EnvironmentFault)
    assert str(error) == "a file of model me/model came only in part: run again"


def test_a_disk_without_room_is_found_before_the_download(monkeypatch, tmp_path):
    monkeypatch.setattr("runner.hub.download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(EnvironmentFault, match=r"needs 909,494\.7 TiB and the disk .* HF_HOME"):
        download(ASKED, "0" * 40, {"x.safetensors": Entry(10**18, "a" * 64)}, Remembers())
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize("revision", ["../../secret", ".."])
def test_a_revision_that_climbs_is_not_looked_up(monkeypatch, tmp_path, revision):
    monkeypatch.setattr("runner.hub.cache.constants.HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "models--me--model" / "snapshots").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    assert cache.snapshot(Asked("model", "me/model", "model.id", revision)) is None


def test_without_a_note_of_the_main_branch_the_newest_snapshot_counts(monkeypatch, tmp_path):
    import os

    monkeypatch.setattr("runner.hub.cache.constants.HF_HUB_CACHE", str(tmp_path))
    for age, commit in ((2, "a" * 40), (1, "b" * 40)):
        folder: Path = tmp_path / "models--me--model" / "snapshots" / commit
        folder.mkdir(parents=True)
        os.utime(folder, (10**9 - age, 10**9 - age))
    asked = Asked("model", "me/model", "model.id")
    assert cache.snapshot(asked) == tmp_path / "models--me--model" / "snapshots" / ("b" * 40)
    cache.note_revision(asked, "a" * 40)
    assert cache.snapshot(asked) == tmp_path / "models--me--model" / "snapshots" / ("a" * 40)
