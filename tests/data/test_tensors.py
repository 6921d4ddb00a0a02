"""Stores of tensors: whole or not there."""

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from runner.data import tensors
from runner.data.tensors import TensorStore, TensorWriter
from runner.errors import EnvironmentFault

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int64]


def rows(numbers, dtype=torch.float32, shape=(2, 3)):
    values = torch.stack([torch.arange(6).reshape(shape) + 10 * n for n in numbers])
    return {"a": values.to(dtype), "b": values.flatten(1).float()[:, 0]}


def written(root, key="key", batches=((4, 0), (2, 5), (1, 3)), **options):
    with TensorWriter(root, 6) as writer:
        for numbers in batches:
            writer.add(numbers, rows(numbers, **options))
        return writer.keep(key)


def names(root):
    return sorted(path.name for path in root.iterdir())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shard", [1, 2**20])
def test_rows_come_back_as_they_were(tmp_path, dtype, shard, monkeypatch):
    monkeypatch.setattr(tensors, "_SHARD", shard)
    written(tmp_path, dtype=dtype)
    store = TensorStore.open(tmp_path / "key")
    assert len(store) == 6
    for i in range(6):
        row, wanted = store[i], rows([i], dtype)
        assert row["a"].dtype == dtype
        assert torch.equal(row["a"], wanted["a"][0])
        assert row["b"].item() == 10 * i
    assert len(list((tmp_path / "key").glob("*.safetensors"))) == (3 if shard == 1 else 1)
    with pytest.raises(IndexError):
        store[6]


def test_rows_may_have_several_shapes(tmp_path):
    with TensorWriter(tmp_path, 4) as writer:
        writer.add([0, 3], rows([0, 3], shape=(2, 3)))
        writer.add([2, 1], rows([2, 1], shape=(6,)))
        store = writer.keep("key")
    assert [tuple(store[i]["a"].shape) for i in range(4)] == [(2, 3), (6,), (6,), (2, 3)]
    assert torch.equal(store[1]["a"], rows([1], shape=(6,))["a"][0])


def test_a_row_is_the_readers_own(tmp_path):
    store = written(tmp_path)
    store[0]["a"].fill_(7)
    assert torch.equal(store[0]["a"], rows([0])["a"][0])


def test_threads_may_read_together(tmp_path):
    store = written(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: store[n % 6]["a"], range(600)))
    assert all(torch.equal(a, rows([n % 6])["a"][0]) for n, a in enumerate(found))


def test_there_is_none_where_none_was_kept(tmp_path):
    assert TensorStore.open(tmp_path / "key") is None
    with TensorWriter(tmp_path, 6) as writer:
        writer.add([0], rows([0]))
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_build_leaves_nothing(tmp_path, error):
    with pytest.raises(error), TensorWriter(tmp_path, 6) as writer:
        writer.add([0], rows([0]))
        raise error
    assert names(tmp_path) == []


def test_a_store_with_missing_rows_is_none(tmp_path):
    with TensorWriter(tmp_path, 6) as writer, pytest.raises(EnvironmentFault, match="damaged right after writing"):
        writer.add([0, 1, 2], rows([0, 1, 2]))
        writer.keep("key")


@pytest.mark.parametrize("name", ["000000.safetensors", "manifest.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "grow", "delete"])
def test_a_damaged_store_is_none_and_is_replaced(tmp_path, name, harm):
    written(tmp_path)
    path = tmp_path / "key" / name
    data = path.read_bytes()
    if harm == "delete":
        path.unlink()
    else:
        flipped = bytearray(data)
        flipped[len(data) // 2] ^= 1
        path.write_bytes({"flip": bytes(flipped), "cut": data[:-3], "grow": data + b"\0\0"}[harm])
    assert TensorStore.open(tmp_path / "key") is None
    store = written(tmp_path)
    assert torch.equal(store[5]["a"], rows([5])["a"][0])
    assert TensorStore.open(tmp_path / "key") is not None


def test_the_faster_of_two_builds_stays(tmp_path):
    with TensorWriter(tmp_path, 6) as slow:
        slow.add(range(6), rows(range(6)))
        written(tmp_path)
        before = (tmp_path / "key" / "manifest.json").stat().st_ino
        assert len(slow.keep("key")) == 6
    assert (tmp_path / "key" / "manifest.json").stat().st_ino == before
    assert names(tmp_path) == ["key"]


def test_what_killed_runs_left_behind_is_swept(tmp_path):
    old, young = tmp_path / ".tmp-1-old", tmp_path / ".tmp-2-young"
    for folder in (old, young, tmp_path / ".tmp-damaged-x"):
        folder.mkdir()
        (folder / "000000.safetensors").write_bytes(b"x")
    past = time.time() - 3 * 24 * 3600
    for path in (old / "000000.safetensors", old):
        os.utime(path, (past, past))
    written(tmp_path)
    assert names(tmp_path) == [".tmp-2-young", "key"]


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "_SHARD", 1)
    opened = Path.open

    def full(self, mode="r", *args, **options):
        if self.name == "000001.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(self, mode, *args, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(EnvironmentFault, match=r"cannot be written in .*No space left on device.*--cache-dir"):
        written(tmp_path)
    assert names(tmp_path) == []


def test_a_cache_that_cannot_fit_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100}))
    with TensorWriter(tmp_path, 6) as writer, pytest.raises(EnvironmentFault, match=r"needs \d+ bytes.* has 100 bytes"):
        writer.add([0], rows([0]))


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        TensorWriter(tmp_path / "file" / "latents", 6)
