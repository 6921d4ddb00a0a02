"""Folders written whole or not at all."""

import errno
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from runner.errors import EnvironmentFault
from runner.outputs.files import whole_folder


def fill(folder, text):
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.txt").write_text(text)
    save_file({"a": torch.ones(2)}, folder / "a.safetensors")


def left(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_new_folder_takes_the_place_of_the_old_one(tmp_path):
    for text in ("one", "two"):
        with whole_folder(tmp_path / "model") as draft:
            fill(draft, text)
            (draft / text).touch()
        assert left(tmp_path) == ["model/a.safetensors", "model/deep/a.txt", f"model/{text}"]
        assert (tmp_path / "model" / "deep" / "a.txt").read_text() == text


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux which file a handle is of")
def test_every_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    synced = []
    sync = os.fsync

    def watched(handle):
        synced.append((str(Path(f"/proc/self/fd/{handle}").readlink()), (tmp_path / "model").exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    with whole_folder(tmp_path / "model") as draft:
        fill(draft, "one")
    names = ["", "/a.safetensors", "/deep", "/deep/a.txt"]
    assert sorted(synced) == [(str(tmp_path), True), *((f"{draft}{name}", False) for name in names)]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (OSError(errno.EROFS, "Read-only file system"), "the file system is read-only"),
        (SafetensorError("Error while serializing: I/O error: No space left (os error 28)"), "the disk is full"),
        (SafetensorError("no number"), "the disk reports an error"),
    ],
)
def test_what_was_there_stays_when_the_disk_refuses(tmp_path, fault, says):
    with whole_folder(tmp_path / "model") as draft:
        fill(draft, "one")
    with pytest.raises(EnvironmentFault, match=f"cannot write .*/model: {says}"), whole_folder(draft.parent / "model"):
        fill(draft, "two")
        raise fault
    assert left(tmp_path) == ["model/a.safetensors", "model/deep/a.txt"]
    assert (tmp_path / "model" / "deep" / "a.txt").read_text() == "one"


def test_a_draft_of_a_killed_process_is_no_part_of_the_folder(tmp_path):
    fill(tmp_path / ".tmp-model", "dead")
    (tmp_path / ".tmp-model" / "more").touch()
    with whole_folder(tmp_path / "model") as draft:
        fill(draft, "one")
    assert left(tmp_path) == ["model/a.safetensors", "model/deep/a.txt"]
