"""Computed tensors on disk: safetensors shards with a manifest, written whole or not at all, opened by key.

A store is a folder of
    000000.safetensors, …   each holds `row`, the n rows' numbers, int64, and tensors of n rows: fp32, fp16, bf16, int64
    manifest.json           how many rows there are, and size and sha256 of each shard; written last

Every byte is checked before it is used: a shard when it is first read, so that a store of any size opens at once; all
of a small one when it is opened, so that it can be made anew before a run begins.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from runner.data import draft
from runner.errors import EnvironmentFault
from runner.outputs.files import write_bytes
from runner.shown import shown
from runner.tally import gibibytes

_VERSION = 1
_MANIFEST = "manifest.json"
_SHARD = 64 * 2**20  # bytes after which a shard is written: what a build holds in memory
_SMALL = 2**28  # bytes that are all checked when a store is opened
_ROW = "row"
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}


@dataclass(frozen=True)
class _Column:
    """One tensor of a shard: its bytes from `start`, `stride` bytes for each of its `rows`."""

    start: int
    rows: int
    stride: int
    shape: tuple[int, ...]
    dtype: torch.dtype


class TensorStore:
    """A whole store, memory-mapped: a row is read without its neighbours, from any thread. Open one with `open`."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self._folder, self._names = folder, sorted(manifest["files"])
        self._digests = [digest for _, (_, digest) in sorted(manifest["files"].items())]
        self._shards = [np.memmap(folder / name, np.uint8, "r").view(np.ndarray) for name in self._names]
        self._checked = [False] * len(self._shards)
        self._columns = [_columns(shard) for shard in self._shards]
        self._place = np.full((manifest["rows"], 2), -1, np.int64)  # row -> shard, place in it
        for i, columns in enumerate(self._columns):
            row = columns.pop(_ROW)
            numbers = self._shards[i][row.start : row.start + row.rows * row.stride].view("<i8")
            self._place[numbers, 0] = i
            self._place[numbers, 1] = np.arange(row.rows)
        if (self._place < 0).any():
            raise ValueError("rows are missing")

    @classmethod
    def open(cls, folder: Path) -> TensorStore | None:
        """The store in `folder`, or None where there is none or it is damaged.

        A change inside a large one is found when it is read.
        """
        try:
            manifest = json.loads((folder / _MANIFEST).read_text("ascii"))
            if manifest["version"] != _VERSION:
                return None
            sizes = {name: size for name, (size, _) in manifest["files"].items()}
            if any((folder / name).stat().st_size != size for name, size in sizes.items()):
                return None
            store = cls(folder, manifest)
            if sum(sizes.values()) <= _SMALL and not all(map(store._is_whole, range(len(sizes)))):
                return None
            return store
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return None

    def __len__(self) -> int:
        return len(self._place)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        """The tensors of one row, without a dimension for rows; copies of the file's bytes.

        Raises:
            EnvironmentFault: the bytes are not those that were written.
        """
        if not 0 <= row < len(self):
            raise IndexError(row)
        shard, place = map(int, self._place[row])
        if not self._checked[shard] and not self._is_whole(shard):
            raise draft.damaged(self._folder, self._names[shard])
        tensors = {}
        for name, column in self._columns[shard].items():
            start = column.start + place * column.stride
            raw = bytearray(self._shards[shard][start : start + column.stride])
            tensors[name] = torch.frombuffer(raw, dtype=column.dtype).reshape(column.shape)
        return tensors

    def _is_whole(self, shard: int) -> bool:
        self._checked[shard] = hashlib.sha256(self._shards[shard].data).hexdigest() == self._digests[shard]
        return self._checked[shard]


class TensorWriter:
    """Writes a store below `root`: `add` rows in any order, then `keep` it. Nothing is left behind if it is not kept.

    Args:
        root: the folder of such stores.
        rows: how many rows the whole store will have.

    Raises:
        EnvironmentFault: from every method, where the disk is full or cannot be written.
    """

    def __init__(self, root: Path, rows: int) -> None:
        self.root, self._total = root, rows
        self._pending: list[tuple[list[int], dict[str, Tensor]]] = []
        self._form: Any = None
        self._bytes = 0
        self._files: dict[str, tuple[int, str]] = {}
        with draft.writing(root):
            self._temporary = draft.begin(root)

    def __enter__(self) -> TensorWriter:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)

    def add(self, numbers: Sequence[int], tensors: Mapping[str, Tensor]) -> None:
        """The rows of these numbers: every tensor has `len(numbers)` rows."""
        rows = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
        form = {name: (tensor.shape[1:], tensor.dtype) for name, tensor in rows.items()}
        size = sum(tensor.nbytes for tensor in rows.values())
        if self._form is None:
            self._check_space(size // len(numbers))
        elif form != self._form or self._bytes + size > _SHARD:
            self._flush()
        self._form = form
        self._pending.append((list(numbers), rows))
        self._bytes += size

    def keep(self, key: str) -> TensorStore:
        """Makes what was written durable as `root/key`; a whole store that is there already stays."""
        self._flush()
        manifest = {"version": _VERSION, "rows": self._total, "files": self._files}
        target = self.root / key
        with draft.writing(self.root):
            write_bytes(self._temporary / _MANIFEST, json.dumps(manifest).encode("ascii"))
            draft.finish(self._temporary, target, lambda path: TensorStore.open(path) is not None)
        store = TensorStore.open(target)
        if store is None:
            raise EnvironmentFault(
                f"the cache in {shown(self.root, 1000)} is damaged right after writing: check the disk"
            )
        return store

    def _flush(self) -> None:
        if not self._pending:
            return
        numbers = [number for numbers, _ in self._pending for number in numbers]
        tensors = {name: torch.cat([rows[name] for _, rows in self._pending]) for name in self._form}
        data = save({**tensors, _ROW: torch.tensor(numbers, dtype=torch.int64)})
        name = f"{len(self._files):06d}.safetensors"
        with draft.writing(self.root), (self._temporary / name).open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._files[name] = (len(data), hashlib.sha256(data).hexdigest())
        self._pending, self._bytes = [], 0

    def _check_space(self, row_bytes: int) -> None:
        """Say before hours of computing that the rows will not fit."""
        with draft.writing(self.root):
            free = shutil.disk_usage(self.root).free
        needed = self._total * row_bytes
        if needed > free:
            raise EnvironmentFault(
                f"the cache needs {gibibytes(needed)}, and {shown(self.root, 1000)} has "
                f"{gibibytes(free)} free: free some space there, choose another folder with --cache-dir, "
                "or switch off training.cache_latents and training.cache_text_embeddings"
            )


def _columns(shard: np.ndarray) -> dict[str, _Column]:
    """Where the tensors of a shard lie (the header of safetensors: 8 bytes of its length, then JSON)."""
    length = int(shard[:8].view("<u8")[0])
    header = json.loads(shard[8 : 8 + length].tobytes())
    columns = {}
    for name, entry in header.items():
        if name != "__metadata__":
            dtype, (rows, *shape) = _DTYPES[entry["dtype"]], entry["shape"]
            start, stride = 8 + length + entry["data_offsets"][0], math.prod(shape) * dtype.itemsize
            columns[name] = _Column(start, rows, stride, tuple(shape), dtype)
    return columns
