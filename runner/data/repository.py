"""A data set's repository on the hub: its commit, its files by split, and their download.

No code of a repository is ever run, and nothing outside it is read: the files that its card names are checked to be
its own before they are opened.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
from datasets import DatasetBuilder, IterableDataset, load_dataset_builder
from datasets.distributed import split_dataset_by_node
from datasets.utils.file_utils import xopen
from huggingface_hub import DatasetCard, HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError

from runner.data import archives, parquet
from runner.data.card import check_card
from runner.data.workers import in_order
from runner.errors import DataError, EnvironmentFault, Refused
from runner.hub.faults import Asked, reading
from runner.hub.quiet import quiet
from runner.shown import shown

if TYPE_CHECKING:
    from runner.progress import Progress

_KINDS = {"parquet", "arrow", "imagefolder", "webdataset"}  # packaged builders of datasets that can hold pictures
_TIMEOUT = 15.0  # seconds for the hub's first answer


def commit(id: str, revision: str | None, *, offline: bool) -> str:
    """The commit that `revision` (None: the main branch) of data set `id` names now.

    Raises:
        ModelError: unknown, private or gated, or no such revision.
        EnvironmentFault: the hub cannot be reached; offline: the data set is not on this machine.
    """
    _quiet()
    with reading(_asked(id, revision)):
        if offline or constants.HF_HUB_OFFLINE:
            return _snapshot(id, revision).name
        sha = str(HfApi().dataset_info(id, revision=revision, timeout=_TIMEOUT).sha)
        with suppress(EntryNotFoundError):  # notes on disk what `revision` means, for later runs offline
            hf_hub_download(id, "README.md", repo_type="dataset", revision=revision)
        return sha


class StreamRows:
    """The rows of one split, read as they come from wherever a builder's files lie.

    Attributes:
        count: the number of rows, where the data set's card tells it.
        seekable: see `Rows`.
    """

    seekable = False

    def __init__(self, builder: DatasetBuilder, split: str) -> None:
        self._builder, self._split = builder, split
        known = builder.info.splits or {}
        self.count: int | None = known[split].num_examples if split in known else None

    @cached_property
    def _stream(self) -> IterableDataset:
        stream = self._builder.as_streaming_dataset(split=self._split)
        return stream if stream.features is not None else stream._resolve_features()

    @property
    def features(self) -> Mapping[str, Any]:
        """Column name -> feature of the datasets library."""
        return dict(self._stream.features)

    @property
    def shards(self) -> int:
        """In how many pieces the split lies: its files."""
        return int(self._stream.num_shards)

    def rows(self, columns: list[str], start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """Rows `start` to `stop` as dictionaries of these columns; pictures stay undecoded."""
        yield from islice(self._stream.decode(False).select_columns(columns), start, stop)

    def rows_of(self, shard: int, columns: list[str]) -> Iterator[dict[str, Any]]:
        """As `rows`, of one of the pieces: no other is read."""
        rows = self._stream.decode(False).select_columns(columns)
        yield from split_dataset_by_node(rows, rank=shard, world_size=self.shards)


class Repository:
    """Data set `id` at one commit.

    Attributes:
        commit: the commit's hash.
        splits: split -> the paths of its files, as 'hf://…' or local.
        place: what the path of every file starts with.
    """

    def __init__(self, *, id: str, config: str | None, revision: str | None, offline: bool) -> None:
        _quiet()
        self.id, self.revision = id, revision
        self.local = offline or constants.HF_HUB_OFFLINE
        with reading(_asked(id, revision)):
            if self.local:
                folder = _snapshot(id, revision)
                self.commit, self.place = folder.name, f"{folder}/"
                card = DatasetCard.load(folder / "README.md").data.to_dict() if (folder / "README.md").exists() else {}
                names = {path.name for path in folder.iterdir()}
            else:
                info = HfApi().dataset_info(id, revision=revision, timeout=_TIMEOUT)
                self.commit, self.place = str(info.sha), f"hf://datasets/{id}@{info.sha}/"
                card = info.card_data.to_dict() if info.card_data else {}
                names = {file.rfilename for file in info.siblings or []}
            check_card(id, card, config, names)
            place = self.place.rstrip("/") if self.local else id
            self.builder = load_dataset_builder(place, name=config, revision=None if self.local else self.commit)
        self.kind = _kind(self.builder)
        if self.kind not in _KINDS:
            raise DataError(
                f"data set {shown(id)} is made of {self.kind} files: pictures come from {', '.join(sorted(_KINDS))}"
            )
        if self.kind == "webdataset":
            archives.bound(self.builder)
        self.splits = {str(split): list(files) for split, files in self.builder.config.data_files.items()}
        self._places = [self.place]
        for files in self.splits.values():
            for file in files:
                self.require_own(file)
            if self.local and parquet.missing_shards(map(Path, files)):
                raise EnvironmentFault(
                    f"data set {shown(id)} is on this machine only in part: run once without --offline"
                )

    def stream(self, split: str) -> StreamRows:
        """The rows of `split`, read from where its files lie now."""
        return StreamRows(self.builder, split)

    def require_own(self, path: str) -> None:
        """Refuse a path that is not one of this data set's own files (or a member of one that is an archive).

        Raises:
            Refused
        """
        file = path.rsplit("::", 1)[-1]
        if ".." in path.replace("\\", "/").split("/") or not file.startswith(tuple(self._places)):
            raise Refused(f"data set {shown(self.id)} names a file outside itself: {shown(path)}")

    def reading(self) -> AbstractContextManager[None]:
        """A context that turns what the hub's libraries raise into faults of this data set."""
        return reading(_asked(self.id, self.revision))

    def name_damage(self, wanted: list[str]) -> None:
        """Look for the file that makes reading the splits `wanted` fail.

        Raises:
            DataError: a parquet file that is none, with its name.
        """
        for file in [file for split in wanted for file in self.splits[split] if file.endswith(".parquet")]:
            with xopen(file, "rb") as opened:
                problem = parquet.check_ends(opened)
            if problem:
                raise self._damaged(file.removeprefix(self.place), problem)

    def _damaged(self, name: str, problem: str) -> DataError:
        return DataError(
            f"{shown(name)} of data set {shown(self.id)} {problem} on the hub itself: choose another data set"
        )

    def download(self, wanted: list[str], progress: Progress) -> dict[str, list[Path]]:
        """Bring the files of the splits `wanted` into the hub's own cache; what is there already is not fetched again.

        Returns:
            split -> local paths. The builder reads these from now on.
        """
        names = [file.removeprefix(self.place) for split in wanted for file in self.splits[split]]
        if self.local:
            paths = {name: Path(self.place) / name for name in names}
        else:
            with self.reading(), progress.bar(f"Downloading {shown(self.id)}", len(names), unit="file") as bar:
                paths = {}
                for name, path in zip(names, in_order(self._fetched, names), strict=True):
                    paths[name] = path
                    bar.advance()
        here = {split: [paths[file.removeprefix(self.place)] for file in self.splits[split]] for split in wanted}
        self._places += {str(path).removesuffix(name) for name, path in paths.items()}
        files = self.builder.config.data_files
        for split, local in here.items():
            files[split] = type(files[split])([str(path) for path in local], files[split].origin_metadata)
        return here

    def _fetched(self, name: str) -> Path:
        get = partial(hf_hub_download, self.id, name, repo_type="dataset", revision=self.commit)
        path = Path(get())
        if path.suffix == ".parquet" and parquet.check(path):
            path = Path(get(force_download=True))  # damaged on disk: once more
            problem = parquet.check(path)
            if problem:
                raise DataError(
                    f"{shown(name)} of data set {shown(self.id)} {problem} on the hub itself: choose another"
                )
        return path


def _snapshot(id: str, revision: str | None) -> Path:
    """The folder of what was downloaded of a data set before."""
    only_this = ["README.md"]  # else any file that was never asked for would count as missing
    return Path(
        snapshot_download(id, repo_type="dataset", revision=revision, local_files_only=True, allow_patterns=only_this)
    )


def _kind(builder: DatasetBuilder) -> str:
    modules = [kind.__module__ for kind in type(builder).__mro__]
    return next((m.split(".")[2] for m in modules if m.startswith("datasets.packaged_modules.")), "unknown")


def _asked(id: str, revision: str | None) -> Asked:
    return Asked("data set", id, "data.id", revision)


def _quiet() -> None:
    """The libraries show nothing and count nothing of their own accord: the display is ours."""
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(logging.CRITICAL + 1)
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    quiet()
