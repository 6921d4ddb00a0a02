import json

import numpy as np
from PIL import Image

from runner.data.cache import prepare
from runner.data.folder import Folder
from runner.data.mixed import Mixed
from runner.data.report import contact_sheet, facts, render
from runner.processes.world import World


def prepared(root, section, progress, cache, **given):
    source = Folder(id=str(root), caption_column="text", metadata_file=None)
    return prepare(source, section=section(**given), cache_dir=cache, progress=progress, world=World())


def example(tmp_path, picture):
    picture(tmp_path / "d/rose/a.png", size=(20, 10))
    picture(tmp_path / "d/rose/b.png", size=(40, 40))
    picture(tmp_path / "d/tulip/c.png", size=(100, 50))
    (tmp_path / "d/tulip/x\x1b[2J.png").write_bytes(b"junk")
    (tmp_path / "d/rose/a.txt").write_text("two words")
    (tmp_path / "d/tulip/c.txt").write_text("and four more words")
    return tmp_path / "d"


def test_facts_and_their_lines(tmp_path, picture, section, progress):
    root = example(tmp_path, picture)
    told = facts(prepared(root, section, progress, tmp_path / "c", on_error="skip"), resolution=16)
    assert json.loads(json.dumps(told)) == told
    assert (told["found"], told["used"]) == (4, 3)
    assert told["width"] == {"min": 20, "median": 40, "max": 100}
    assert told["aspect"] == {"min": 1, "median": 2, "max": 2}
    assert told["smaller"] == 1
    assert told["classes"] == {"rose": 2, "tulip": 1}
    assert told["captions"]["count"] == 2
    assert told["captions"]["words"] == {"min": 2, "median": 3, "max": 4}
    reason = "cannot be read as PNG, JPEG, WEBP, BMP, GIF or TIFF (it is text)"
    assert told["skipped"] == [{"name": "tulip/x\x1b[2J.png", "reason": reason}]
    assert render(told).splitlines() == [
        "pictures  4 found, 3 used, 1 skipped",
        f"          tulip/x\\x1b[2J.png {reason}",
        "width     20 to 100, median 40",
        "height    10 to 50, median 40",
        "aspect    1 to 2, median 2",
        "          1 smaller than 16 pixels: they are enlarged",
        "classes   2: rose 2, tulip 1",
        "captions  2 of 3 pictures (67%)",
        "          9 to 19 characters, median 14",
        "          2 to 4 words, median 3",
        "          1 without: rose/b.png",
    ]


def test_without_classes_and_captions(tmp_path, picture, section, progress):
    picture(tmp_path / "d/a.png")
    lines = render(facts(prepared(tmp_path / "d", section, progress, tmp_path / "c"), resolution=16)).splitlines()
    assert lines[-2:] == ["classes   none", "captions  none"]


def test_buckets_with_their_counts(tmp_path, picture, section, progress):
    for i, size in enumerate([(20, 20), (60, 30), (58, 30), (100, 60)]):
        picture(tmp_path / f"d/{i}.png", size=size)
    buckets = {"step": 8, "max_aspect": 2.0}
    pictures = prepared(tmp_path / "d", section, progress, tmp_path / "c", resolution=32, aspect_ratio_buckets=buckets)
    told = facts(pictures, resolution=32, buckets=buckets)
    assert json.loads(json.dumps(told)) == told
    assert {(size["width"], size["height"]): size["count"] for size in told["buckets"]} == {
        (40, 24): 3,
        (32, 32): 1,
        (24, 40): 0,
    }
    lines = render(told).splitlines()
    assert "buckets   40 x 24: 3, 32 x 32: 1" in lines
    assert "          1 smaller than their bucket: they are enlarged" in lines


def test_sources_and_what_an_epoch_shows(tmp_path, picture, section, progress):
    for name in ("rose/a.png", "rose/b.png", "tulip/c.png"):
        picture(tmp_path / name)
    entry = {"type": "folder", "caption_column": "text", "metadata_file": None, "caption_templates": None}
    source = Mixed(
        sources=[
            {**entry, "id": str(tmp_path / "rose"), "repeats": 1, "instance_prompt": "a rose"},
            {**entry, "id": str(tmp_path / "tulip"), "repeats": 10, "instance_prompt": None},
        ],
        offline=True,
    )
    told = facts(
        prepare(source, section=section(), cache_dir=tmp_path / "c", progress=progress, world=World()), resolution=16
    )
    assert told["sources"] == [
        {"name": "rose", "used": 2, "repeats": 1, "instance_prompt": "a rose"},
        {"name": "tulip", "used": 1, "repeats": 10},
    ]
    assert told["captions"] == {"count": 0, "missing": 1, "without": ["tulip/c.png"]}  # roses have their source's
    lines = render(told).splitlines()
    at = lines.index("sources   rose: 2, each 'a rose'")
    assert lines[at + 1 : at + 3] == [
        "          tulip: 1, each 10 times an epoch",
        "          an epoch shows 12 pictures",
    ]


def test_pictures_without_a_caption_are_counted_and_the_first_named(tmp_path, picture, section, progress):
    for i in range(30):
        picture(tmp_path / f"d/{i:02}.png")
    (tmp_path / "d/07.txt").write_text("seven")
    told = facts(prepared(tmp_path / "d", section, progress, tmp_path / "c"), resolution=16)
    assert (told["captions"]["count"], told["captions"]["missing"]) == (1, 29)
    assert told["captions"]["without"][6:8] == ["06.png", "08.png"]
    assert render(told).splitlines()[-1] == ("          29 without: 00.png, 01.png, 02.png, 03.png, 04.png and 24 more")


def test_long_lists_are_cut(tmp_path, picture, section, progress):
    for i in range(25):
        picture(tmp_path / f"d/class{i:02}/a.png")
        (tmp_path / f"d/class{i:02}/bad.png").touch()
    text = render(facts(prepared(tmp_path / "d", section, progress, tmp_path / "c", on_error="skip"), resolution=16))
    assert "class19 1 and 5 more" in text
    assert text.count("is empty (0 bytes)") == 20


def test_contact_sheet(tmp_path, picture, section, progress):
    for i in range(100):
        picture(tmp_path / f"d/{i:03}.png", colour=(2 * i, 0, 0))
    pictures = prepared(tmp_path / "d", section, progress, tmp_path / "c")
    contact_sheet(pictures, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (8 + 8 * 166, 8 + 8 * 136, 3)
    centres = [int(sheet[8 + 64 + 166 * (i // 8), 8 + 64 + 136 * (i % 8), 0]) for i in range(64)]
    assert (centres[0], centres[-1]) == (0, 198)  # the first and the last
    assert centres == sorted(centres)
    assert len(set(centres)) == 64
    strip = sheet[8 + 128 + 2 : 8 + 128 + 28, 8:136]
    assert strip.min() < 100  # the label


def test_contact_sheet_of_few_and_wide_pictures(tmp_path, picture, section, progress):
    picture(tmp_path / "d/wide 🌷.png", size=(64, 16))
    (tmp_path / "d/wide 🌷.txt").write_text("a very long caption " * 30 + "\u202e[2J")
    contact_sheet(prepared(tmp_path / "d", section, progress, tmp_path / "c", center_crop=False), tmp_path / "s.png")
    sheet = np.asarray(Image.open(tmp_path / "s.png"))
    assert sheet.shape == (8 + 166, 8 + 136, 3)
    assert sheet[8 + 64, 8 + 64].tolist() == [200, 30, 40]
    assert sheet[10, 8 + 64].tolist() == [255, 255, 255]  # above the wide picture
    assert sheet[:, -8:].min() == 255  # the caption stays in its cell
