"""Captions of a folder: which pictures get one, what is kept, and how the work goes on after a stop."""

import json
import shutil
import signal

import pytest

from runner.captioning import caption, inspect
from runner.captioning.captioner import Captioner
from runner.captioning.kept import Kept
from runner.data.source import open_source
from runner.errors import DataError, Interrupted
from runner.signals import Stop
from tests.captioning.conftest import Remembers, around, files_of, noise, source_of


@pytest.fixture
def seen(monkeypatch):
    """How many pictures the model was shown in each call."""
    calls, plain = [], Captioner.__call__

    def count(self, images):
        calls.append(len(images))
        return plain(self, images)

    monkeypatch.setattr(Captioner, "__call__", count)
    return calls


class StopsAfter(Stop):
    """A signal that arrives in the n-th batch."""

    def __init__(self, batches):
        super().__init__("run again")
        self._left = batches

    def check(self, where=""):
        self._left -= 1
        self.requested = signal.SIGTERM if self._left == 0 else None
        super().check(where)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_pictures_that_lack_a_caption_get_one(captions, data, seen):
    before = contents(data)
    found = captions()
    assert list(found) == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert found["b.png"] == "my own words"
    assert all(found.values())
    assert len(set(found.values())) > 2
    assert seen == [2, 2]
    assert ("Captioning", 5, 5) in captions.progress.bars
    assert captions.progress.lines[-1].startswith("4 pictures captioned (4 now), 1 had a caption: ")
    assert captions.progress.warnings == []
    assert contents(data) == before


def test_overwrite_writes_all_anew(captions, seen):
    kept = captions()
    found = captions(overwrite=True)
    assert found["b.png"] != "my own words"
    assert {**found, "b.png": None} == {**kept, "b.png": None}
    assert seen == [2, 2, 1]  # what was written once is not written again


def test_a_folder_reads_the_written_metadata(captions, data, tmp_path):
    found = captions()
    path = tmp_path / "run" / "captions" / "metadata.jsonl"
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"file_name": name, "text": text} for name, text in found.items()
    ]
    assert {entry.item.name: entry.item.caption for entry in source_of(data, str(path))} == found


def test_a_second_time_loads_no_model(captions, seen, monkeypatch):
    first = captions()
    fingerprint = captions.source.fingerprint

    def loaded(*_, **__):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(Captioner, "__init__", loaded)
    assert captions(folder="run2") == first
    assert captions.source.fingerprint == fingerprint
    assert captions.progress.lines[-1].startswith("4 pictures captioned (0 now), 1 had a caption: ")


def test_a_picture_is_known_by_its_pixels(captions, data, seen):
    first = captions()
    (data / "a.png").rename(data / "z.png")
    shutil.copy(data / "c.png", data / "y.png")
    found = captions()
    assert (found["z.png"], found["y.png"]) == (first["a.png"], first["c.png"])
    assert seen == [2, 2]


def test_a_stopped_run_goes_on_where_it_was(captions, seen, tmp_path, llava):
    with pytest.raises(Interrupted, match="stopped after 2 captions, which are kept: run again") as caught:
        captions(stop=StopsAfter(1))
    assert caught.value.exit_code == 143
    assert not (tmp_path / "run" / "captions").exists()
    found = captions()
    assert seen == [2, 2]
    shutil.rmtree(tmp_path / "cache")
    assert captions() == found


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_a_torn_line_is_dropped(captions, seen, tmp_path, keep):
    found = captions()
    (path,) = (tmp_path / "cache" / "captions").glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:keep]) + lines[keep][:-20])
    assert captions() == found
    assert sum(seen) == 4 + (4 - keep)
    assert captions(folder="run2") == found
    assert sum(seen) == 4 + (4 - keep)  # what was written after the torn line is read


def test_each_prompt_and_model_has_its_own_captions(captions, llava):
    plain, prompted = captions(), captions(prompt="a photo of")
    assert all(text.startswith("a photo of") for name, text in prompted.items() if name != "b.png")
    talked = captions(llava)
    assert len({tuple(found.values()) for found in (plain, prompted, talked)}) == 3


def test_broken_pictures_stop_or_are_skipped(captions, data):
    (data / "c.png").write_bytes((data / "c.png").read_bytes()[:200])
    (data / "f.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"2 of 6 pictures cannot be used \(c\.png .*; f\.png is empty .*on_error: skip"
    ):
        captions()
    for _ in range(2):  # the second time from what is remembered
        found = captions(on_error="skip")
        assert captions.progress.warnings[0].startswith("2 of 6 pictures cannot be used (c.png ")
        assert captions.progress.warnings[0].endswith(": they get no caption")
        assert [name for name, text in found.items() if text is None] == ["c.png", "f.png"]
    noise(2).save(data / "c.png")
    (data / "f.png").unlink()
    assert all(captions().values())


def test_only_the_first_n_pictures_are_captioned(captions, seen, tmp_path):
    found = captions(max_images=3)
    assert [name for name, text in found.items() if text is None] == ["d.png", "e.png"]
    assert seen == [2]
    assert len((tmp_path / "run" / "captions" / "metadata.jsonl").read_text().splitlines()) == 5


def test_a_model_without_words_is_told(captions, monkeypatch):
    monkeypatch.setattr(Captioner, "__call__", lambda self, images: [""] * len(images))
    found = captions()
    assert {name for name, text in found.items() if text is None} == {"a.png", "c.png", "d.png", "e.png"}
    assert captions.progress.warnings == ["the model had no words for 4 of 4 pictures: a.png, c.png, d.png, e.png"]
    assert captions.progress.lines[-1].startswith("0 pictures captioned (0 now), 1 had a caption")


def test_the_fingerprint_follows_from_the_captions(captions, data):
    captions()
    first = captions.source.fingerprint
    captions(prompt="a photo of")
    second = captions.source.fingerprint
    assert len({first, second, source_of(data).fingerprint}) == 3
    assert captions.source.count == 5


def test_large_pictures_reach_the_model_smaller(captions, data, monkeypatch):
    noise(7, (3000, 40)).save(data / "a.png")
    sizes, plain = [], Captioner.__call__

    def note(self, images):
        sizes.extend(image.size for image in images)
        return plain(self, images)

    monkeypatch.setattr(Captioner, "__call__", note)
    captions()
    assert sizes[0] == (1024, 14)
    assert sizes[1:] == [(24, 20)] * 3


def test_spoilt_lines_of_the_cache_count_as_absent(tmp_path):
    path = tmp_path / "kept.jsonl"
    good, other = "0" * 64, "1" * 64
    path.write_text(f'{{"sha256": "{good}", "text": "a rose"}}\n[1]\n\x00\n{{"sha256": "{other}", "text": 3}}\n')
    kept = Kept(path)
    assert (kept[good], other in kept) == ("a rose", False)
    kept.add([(other, "a leaf")])
    assert Kept(path)[other] == "a leaf"


def test_mixed_sources_keep_what_they_say_of_themselves(data, tmp_path, blip):
    other = tmp_path / "other"
    other.mkdir()
    noise(8).save(other / "f.png")
    sources = [
        {"type": "folder", "id": str(folder), "caption_column": "text", "metadata_file": None, "repeats": repeats}
        for folder, repeats in ((data, 1), (other, 3))
    ]
    mixed = open_source({"type": "mixed", "sources": sources}, offline=True)
    section = {"caption": {"prompt": None, "overwrite": False, "batch_size": 4, "max_new_tokens": 8}}
    where = around(tmp_path, tmp_path, Remembers(), Stop("again"))
    found = caption(mixed, inspect(files_of(blip), allow_pickle=False), section, where)
    assert [found.origins[entry.item.origin].repeats for entry in found] == [1, 1, 1, 1, 1, 3]
    assert all(entry.item.caption for entry in found)
    assert found.count == 6
