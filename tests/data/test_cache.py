import errno
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runner.data import cache, decoded, store
from runner.data.cache import prepare
from runner.data.folder import Folder
from runner.data.source import Entry, Item, Listed, Source
from runner.errors import DataError, EnvironmentFault
from runner.processes.world import World


class Drawn(Listed):
    """Pictures of one grey each, wider and wider; `bad` numbers raise. Counts how often one is asked for."""

    def __init__(self, count: int, bad: dict[int, Exception] | None = None, fingerprint: str = "drawn") -> None:
        self.items = [Item(f"{i}.png", f"grey {i}" if i % 2 else None, i % 2) for i in range(count)]
        self.classes = ["even", "odd"]
        self.fingerprint = fingerprint
        self.bad = bad or {}
        self.asked = 0

    def picture(self, index: int) -> Image.Image:
        self.asked += 1
        if index in self.bad:
            raise self.bad[index]
        return Image.new("L", (20 + index % 9, 20), index % 256)


class Stream(Source):
    """A source that knows its length only after reading."""

    fingerprint = "stream"
    count = None

    def __init__(self) -> None:
        self.classes = []
        self.given = 0

    def __iter__(self):
        for i in range(10**9):
            self.given += 1
            yield Entry(Item(str(i), None, None), lambda: Image.new("RGB", (8, 8)))


@pytest.fixture
def ready(tmp_path, section, progress):
    def call(source, **given):
        return prepare(source, section=section(**given), cache_dir=tmp_path, progress=progress, world=World())

    return call


def test_pictures_in_order_with_all_that_is_known(ready, progress):
    pictures = ready(Drawn(300))
    assert len(pictures) == pictures.found == 300
    assert [int(pictures[i][0, 0, 0]) for i in range(256)] == list(range(256))
    assert pictures[3].shape == (16, 16, 3)
    assert pictures[3].dtype == np.uint8
    assert not pictures[3].flags.writeable
    assert (pictures.caption(3), pictures.name(3)) == ("grey 3", "3.png")
    assert (pictures.caption(298), pictures.name(299)) == (None, "299.png")
    assert pictures.classes == ["even", "odd"]
    assert pictures.labels.dtype == np.int64
    assert pictures.labels[:4].tolist() == [0, 1, 0, 1]
    assert pictures.original_sizes[5].tolist() == [25, 20]
    assert progress.bars == [("Reading pictures", 300, 300)]
    with pytest.raises(IndexError):
        pictures[300]


def test_a_second_time_reads_no_picture(ready, progress):
    first = ready(Drawn(20))
    again = Drawn(20, bad=dict.fromkeys(range(20), ValueError("must not be read")))
    second = ready(again)
    assert again.asked == 0
    assert second.fingerprint == first.fingerprint
    assert all(np.array_equal(first[i], second[i]) for i in range(20))
    assert len(progress.bars) == 1


def test_whole_pictures_for_random_crops(ready):
    pictures = ready(Drawn(3), center_crop=False)
    assert [pictures[i].shape for i in range(3)] == [(16, 16, 3), (16, 17, 3), (16, 18, 3)]
    assert [int(pictures[i].max()) for i in range(3)] == [0, 1, 2]


def test_the_key_holds_what_changes_pixels_or_choice_and_nothing_else(ready, monkeypatch):
    base = ready(Drawn(9)).fingerprint
    changes = [
        {"resolution": 24},
        {"interpolation": "bicubic"},
        {"center_crop": False},
        {"background": "#000000"},
        {"max_images": 5},
    ]
    keys = {ready(Drawn(9), **change).fingerprint for change in changes}
    keys.add(ready(Drawn(9, fingerprint="other")).fingerprint)
    monkeypatch.setattr(cache.PIL, "__version__", "0.0")
    keys.add(ready(Drawn(9)).fingerprint)
    assert len(keys | {base}) == 8
    monkeypatch.undo()
    for same in ({"random_flip": True}, {"on_error": "skip"}, {"color_jitter": {"hue": 0.1}}):
        assert ready(Drawn(9), **same).fingerprint == base


def test_broken_pictures_stop_with_one_list(ready):
    bad = {i: ValueError(f"no {i}") for i in range(0, 60, 4)}
    for _ in range(2):  # decoded, then remembered
        with pytest.raises(DataError) as caught:
            ready(Drawn(60, bad))
        message = str(caught.value)
        assert message.startswith(
            "15 of 60 pictures cannot be used (0.png is damaged (no 0); 4.png is damaged (no 4); "
        )
        assert "36.png is damaged (no 36); and 5 more): repair or remove them" in message
        assert message.endswith("data.on_error: skip")
        assert "40.png" not in message


def test_broken_pictures_are_skipped_and_counted(ready, progress):
    source = Drawn(10, {2: OSError("truncated"), 7: SyntaxError("odd")})
    for _ in range(2):
        pictures = ready(source, on_error="skip")
        assert len(pictures) + len(pictures.skipped) == pictures.found == 10
        assert pictures.skipped == [("2.png", "is damaged (truncated)"), ("7.png", "is damaged (odd)")]
        assert [pictures.name(i) for i in range(8)] == [f"{i}.png" for i in (0, 1, 3, 4, 5, 6, 8, 9)]
        assert [int(pictures[i].max()) for i in range(8)] == [0, 1, 3, 4, 5, 6, 8, 9]
    assert source.asked == 10
    expected = (
        "2 of 10 pictures cannot be used (2.png is damaged (truncated); 7.png is damaged (odd)): skipped, 8 are used"
    )
    assert progress.warnings == [expected] * 2


def test_nothing_usable(ready):
    with pytest.raises(DataError, match=r"^2 of 2 pictures cannot be used \(0\.png is damaged"):
        ready(Drawn(2, dict.fromkeys(range(2), ValueError("x"))), on_error="skip")
    with pytest.raises(DataError, match="holds no picture"):
        ready(Drawn(0))


def test_a_failing_machine_is_no_broken_picture(ready, tmp_path):
    with pytest.raises(EnvironmentFault, match=r"could not read 1\.png \(Too many open files\)"):
        ready(Drawn(3, {1: OSError(errno.EMFILE, "Too many open files")}), on_error="skip")
    assert list((tmp_path / "pictures").iterdir()) == []


def test_the_first_n_pictures(ready, progress):
    pictures = ready(Drawn(50), max_images=7)
    assert pictures.found == len(pictures) == 7
    assert progress.bars == [("Reading pictures", 7, 7)]


def test_a_stream_is_read_no_further_than_needed(ready, progress):
    stream = Stream()
    assert len(ready(stream, max_images=40)) == 40
    assert stream.given == 40
    assert progress.bars == [("Reading pictures", None, 40)]


def test_a_source_that_draws_at_the_resolution_needs_no_scaling_keys(tmp_path, progress):
    section = {"type": "builtin", "resolution": 20, "random_flip": True}
    pictures = prepare(Drawn(1), section=section, cache_dir=tmp_path, progress=progress, world=World())
    assert pictures[0].shape == (20, 20, 3)
    assert pictures.labels.tolist() == [0]


def folder_of(pictures, tmp_path: Path) -> Path:
    return tmp_path / "pictures" / pictures.fingerprint


@pytest.mark.parametrize("file", ["pixels.u8", "index.i64", "texts.jsonl", "skipped.jsonl", "store.json"])
@pytest.mark.parametrize("damage", ["cut", "remove", "empty", "longer"])
def test_a_damaged_cache_is_noticed_and_built_anew(ready, tmp_path, file, damage):
    bad = {1: ValueError("x")}
    folder = folder_of(ready(Drawn(5, bad), on_error="skip"), tmp_path)
    path = folder / file
    data = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes({"cut": data[:-1], "empty": b"", "longer": data + b"x"}[damage])
    source = Drawn(5, bad)
    pictures = ready(source, on_error="skip")
    assert source.asked == 5
    assert [int(pictures[i].max()) for i in range(4)] == [0, 2, 3, 4]
    ready(source, on_error="skip")
    assert source.asked == 5


@pytest.mark.parametrize("file", ["pixels.u8", "index.i64", "texts.jsonl", "skipped.jsonl"])
def test_a_flipped_bit_is_noticed_and_said(ready, tmp_path, progress, file):
    bad = {1: ValueError("x")}
    folder = folder_of(ready(Drawn(5, bad), on_error="skip"), tmp_path)
    before, data = (folder / file).read_bytes(), bytearray((folder / file).read_bytes())
    data[3] ^= 4
    (folder / file).write_bytes(data)
    source = Drawn(5, bad)
    ready(source, on_error="skip")
    assert source.asked == 5
    assert f"the cache in {folder} is damaged, or of another version: it is made anew" in progress.warnings
    assert (folder / file).read_bytes() == before


def test_a_cache_of_another_format_is_built_anew(ready, tmp_path):
    path = folder_of(ready(Drawn(5)), tmp_path) / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 0}))
    source = Drawn(5)
    ready(source)
    assert source.asked == 5


def test_runs_at_the_same_time_do_not_disturb_each_other(ready, tmp_path):
    results, failures = [], []

    def run():
        try:
            results.append(ready(Drawn(80)))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(int(pictures[79].max()) == 79 for pictures in results)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == [results[0].fingerprint]


def test_an_interrupted_build_leaves_nothing(ready, tmp_path):
    class Stopped(Drawn):
        def __iter__(self):
            yield from list(super().__iter__())[:3]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ready(Stopped(9))
    assert list((tmp_path / "pictures").iterdir()) == []


def test_what_a_killed_run_left_is_swept_away_later(ready, tmp_path):
    old, fresh = (tmp_path / f"pictures/.tmp-{n}-x" for n in (1, 2))
    for folder in (old, fresh):
        folder.mkdir(parents=True)
        (folder / "pixels.u8").touch()
    long_ago = 1_000_000_000
    for path in (old / "pixels.u8", old):
        os.utime(path, (long_ago, long_ago))
    ready(Drawn(1))
    assert not old.exists()
    assert fresh.exists()


class Full:
    """A file on a full disk."""

    def __init__(self, file):
        self.file = file

    def write(self, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_is_one_sentence(ready, tmp_path, monkeypatch):
    start = store.Writer.__init__

    def full(self, root):
        start(self, root)
        self._files["pixels.u8"] = Full(self._files["pixels.u8"])

    monkeypatch.setattr(store.Writer, "__init__", full)
    with pytest.raises(EnvironmentFault, match=r"\(No space left on device\).*--cache-dir"):
        ready(Drawn(4))
    assert list((tmp_path / "pictures").iterdir()) == []


def test_too_little_space_is_said_before_decoding(ready, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(decoded.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    source = Drawn(40)
    with pytest.raises(EnvironmentFault, match="--cache-dir"):
        ready(source)
    assert source.asked == 0


def test_a_cache_folder_that_cannot_be_made(section, progress, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match=r"\(Not a directory\).*--cache-dir"):
        prepare(Drawn(1), section=section(), cache_dir=tmp_path / "file/cache", progress=progress, world=World())


def test_a_changed_file_is_noticed(ready, tmp_path, picture):
    path = picture(tmp_path / "data/a.png", colour=(1, 2, 3))
    first = ready(Folder(id=str(tmp_path / "data"), caption_column="text", metadata_file=None))
    picture(path, colour=(9, 9, 9))
    os.utime(path, ns=(5, 5))
    second = ready(Folder(id=str(tmp_path / "data"), caption_column="text", metadata_file=None))
    assert (first[0] == (1, 2, 3)).all()
    assert (second[0] == (9, 9, 9)).all()


def test_names_that_are_not_utf8_survive_the_cache(ready):
    source = Drawn(1)
    source.items = [Item("caf\udce9\n.png", "naïve 🌷", 0)]
    pictures = ready(source)
    assert (pictures.name(0), pictures.caption(0)) == ("caf\udce9\n.png", "naïve 🌷")


def test_real_photographs(ready, shared_data, progress):
    pictures = ready(
        Folder(id=str(shared_data / "flowers/test"), caption_column="text", metadata_file=None), resolution=32
    )
    assert len(pictures) == 331
    assert pictures[330].shape == (32, 32, 3)
    assert np.bincount(pictures.labels).sum() == 331
    assert progress.warnings == []


BUCKETS = {"step": 8, "max_aspect": 2.0}


def test_each_picture_goes_to_its_bucket(tmp_path, picture, section, progress):
    sizes = [(40, 40), (90, 50), (30, 60), (200, 40), (33, 32)]
    for i, size in enumerate(sizes):
        picture(tmp_path / f"d/{i}.png", size=size)
    source = Folder(id=str(tmp_path / "d"), caption_column="text", metadata_file=None)
    given = section(resolution=32, aspect_ratio_buckets=BUCKETS)
    pictures = prepare(source, section=given, cache_dir=tmp_path / "c", progress=progress, world=World())
    assert pictures.sizes.tolist() == [[32, 32], [24, 40], [40, 24], [24, 40], [32, 32]]
    assert [pictures[i].shape for i in range(5)] == [(h, w, 3) for h, w in pictures.sizes]
    assert pictures.crops.tolist() == [[0, 0], [0, 1], [4, 0], [0, 40], [0, 0]]
    assert pictures.original_sizes.tolist() == [list(size) for size in sizes]


def test_random_crops_keep_the_whole_picture_larger_than_its_bucket(tmp_path, picture, section, progress):
    picture(tmp_path / "d/a.png", size=(200, 40))
    source = Folder(id=str(tmp_path / "d"), caption_column="text", metadata_file=None)
    given = section(resolution=32, aspect_ratio_buckets=BUCKETS, center_crop=False)
    pictures = prepare(source, section=given, cache_dir=tmp_path / "c", progress=progress, world=World())
    assert pictures.sizes.tolist() == [[24, 40]]
    assert pictures[0].shape == (24, 120, 3)
    assert pictures.crops.tolist() == [[0, 40]]


def test_buckets_have_a_cache_of_their_own(ready):
    plain = ready(Drawn(3)).fingerprint
    bucketed = {ready(Drawn(3), aspect_ratio_buckets={**BUCKETS, "step": step}).fingerprint for step in (2, 4)}
    assert len(bucketed | {plain}) == 3
    assert ready(Drawn(3), aspect_ratio_buckets=None).fingerprint == plain


def test_without_buckets_all_sizes_are_the_resolution(ready):
    pictures = ready(Drawn(9), center_crop=False)
    assert (pictures.sizes == 16).all()
    assert pictures.crops[8].tolist() == [0, 3]
    assert pictures.repeats.tolist() == [1] * 9
    assert pictures.caption_keys(4) == {}


def test_a_step_above_the_resolution(ready):
    with pytest.raises(DataError, match=r"step is 64 and data\.resolution 16, which leaves no size: make the step"):
        ready(Drawn(3), aspect_ratio_buckets={"step": 64, "max_aspect": 2.0})
