"""Rows DAT: pictures, captions and tables that are broken, odd, or change."""

import io
import json
import os
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import constants
from PIL import Image

from runner.data.decode import open_picture, to_rgb
from runner.data.folder import Folder
from runner.run import Run
from tests.corpus.rows_semantics import flowers, in_folder
from tests.corpus.table import case, not_here, recipe, run, toy, write


def picture(format="PNG", mode="RGB", size=(20, 24), colour=0, **options):
    """A picture's bytes."""
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, format, **options)
    return file.getvalue()


def put(name, data):
    """A file of the data folder."""
    path = Path("flowers", name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def look(values=None):
    """What `recipe data` makes of the folder, and its facts; every picture is used or named."""
    outcome = recipe("data", write(values or in_folder("flowers")), "--quiet", "--format", "json")
    facts = json.loads(outcome.text[outcome.text.index("{\n") :]) if outcome.code == 0 else {}
    assert not facts or facts["used"] + len(facts["skipped"]) == facts["found"]
    assert not any(c in outcome.text for c in "\x1b\0\x9b\u202e")  # the terminal's state is not touched
    return outcome, facts


REASONS = r"half\.jpg is damaged \(.*\); junk\.png .*; nothing\.jpg is empty \(0 bytes\)"
SKIPPING = {"on_error": "skip"}


def broken():
    """Three broken pictures among good ones."""
    flowers()
    half = picture("JPEG", size=(64, 64), quality=95)
    put("junk.png", b"\x89PNG\r\n\x1a\njunk")
    put("nothing.jpg", b"")
    put("half.jpg", half[: len(half) // 2])


@case("DAT02", "on_error: stop", exits=3, says=rf"3 of 6 pictures cannot be used \({REASONS}\): repair or remove them")
def _(folder):
    broken()
    return run(in_folder("flowers"))


@case("DAT02", "on_error: skip", exits=0, says=rf"3 of 6 pictures cannot be used \({REASONS}\): skipped, 3 are used")
def _(folder):
    broken()
    outcome = run(in_folder("flowers", data=SKIPPING))
    assert "3 of 6 pictures used, 3 skipped" in outcome.text
    flowers("good")  # a sample's number goes by what is used: the same steps as without the broken ones
    run(in_folder("good") | {"name": "good"})
    logs = [Path("outputs", name, "001/log.jsonl").read_text() for name in ("toy", "good")]
    first, second = ([json.loads(line)["loss"] for line in log.splitlines()] for log in logs)
    assert first == second
    return outcome


@case("DAT02", "all are broken", exits=3, says="1 of 1 picture cannot be used")
def _(folder):
    put("a.png", b"x")
    return run(in_folder("flowers", data=SKIPPING))


not_here("DAT03", "pillow's own pictures lie outside the project: tests/data/test_odd_pictures.py reads them")


@case("DAT05", "EXIF orientations 2 to 8", exits=0)
def _(folder):
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        put(f"{orientation}.jpg", picture("JPEG", size=(24, 12) if orientation < 5 else (12, 24), exif=exif))
    outcome, facts = look()
    assert facts["used"] == 7
    assert facts["width"]["min"] == facts["width"]["max"] == 24
    return outcome


@case("DAT06", "CMYK, LAB, LA, P with transparency, 1 bit, 16 bits", exits=0)
def _(folder):
    put("cmyk.jpg", picture("JPEG", "CMYK"))
    put("lab.tif", picture("TIFF", "LAB"))
    put("p.png", picture(mode="P", transparency=0))
    for mode in ("LA", "1", "I;16"):
        put(f"{mode}.png", picture(mode=mode))
    outcome, facts = look()
    assert facts["used"] == 6
    sixteen = to_rgb(open_picture(io.BytesIO(picture(mode="I;16", colour=32768))), "#ffffff")
    assert sixteen.getpixel((0, 0)) == (128, 128, 128)  # scaled, not clipped to white
    return outcome


def listed(what, text, says, exits=3, names=("a.png", "b.png", "c.png", "d.png"), file="metadata.csv"):
    """Enters a metadata file of these pictures."""

    @case("DAT08", what, exits=exits, says=says)
    def _(folder):
        flowers("flowers", *names)
        put(file, text)
        return recipe("data", write(in_folder("flowers")))


ROWS = "file_name,text\na.png,one\nb.png,two\nc.png,three\nd.png,four\n"
listed(
    "names a missing file", ROWS + "e.png,five\n", r"names a picture that is not there \(e\.png in line 6\): correct"
)
listed("covers 1 of 4", ROWS[:25], r"3 pictures have no row in metadata\.csv \(b\.png, c\.png, d\.png\): add the rows")
listed("duplicate rows", ROWS + "a.png,six\n", r"line 6 names a\.png again, first named in metadata\.csv line 2: keep")
listed("bad quotes", ROWS.replace("two", '"two'), r"metadata\.csv line 3 is not CSV \(.*\): check its quotes")
listed("a comma without quotes", ROWS.replace("two", "t,wo"), r'line 3 has 3 cells and the header 2: .*in "quotes"')
listed(
    "no such column", ROWS.replace("text", "caption"), "has no column 'text': set data.caption_column to one of caption"
)
listed("two columns of one name", ROWS.replace("text", "file_name"), "has two columns of one name")
listed("latin-1", ROWS.replace("two", "rosé").encode("latin-1"), r"is not UTF-8: line 3, byte \d+ of the file is 0xe9")
listed(
    "an escape in a caption", ROWS.replace("two", "\x1b[2J"), r"line 3, column text holds the control character \\x1b"
)
listed("byte order mark", "\ufeff" + ROWS, "captions  4 of 4 pictures", exits=0)
listed(
    "leaves the folder", ROWS.replace("a.png", "../a.png"), "names ../a.png, a file outside the data folder", exits=6
)
listed("broken JSON", '{"file_name": "a.png"', r"metadata\.jsonl line 1 is not JSON", file="metadata.jsonl")
listed("empty", "", "metadata.csv", file="metadata.csv")


def described(what, text, says):
    """Enters a caption beside a good picture: it is named and counted."""

    @case("DAT09", what, exits=3, says=rf"1 of 3 pictures cannot be used \(a\.png {says}")
    def _(folder):
        flowers()
        put("a.txt", text)
        assert [skipped["name"] for skipped in look()[1]["skipped"]] == ["a.png"]
        return run(in_folder("flowers"))


described("latin-1", "ros\xe9".encode("latin-1"), r"has a caption that is not UTF-8: byte 3 of a\.txt is 0xe9")
described("NUL", "a\0b", r"has a caption with a control character: byte 1 of a\.txt is 0x00")
described("ANSI", "rose \x1b[2J", r"has a caption with a control character: byte 5 of a\.txt is 0x1b")
described("100 kB", "x" * 100_001, r"has a caption of over 100 kB in a\.txt")


@case("DAT09", "empty, or only white space", exits=0)
def _(folder):
    flowers()
    put("a.txt", "")
    put("b.txt", "\ufeff \r\n\t")
    outcome, facts = look()
    assert (facts["used"], facts["captions"]["count"]) == (3, 0)
    return outcome


ODD = ["two words.png", "line\nbreak.png", "\x1b[2J.png", "🌷.png", os.fsdecode(b"caf\xe9.png"), "x" * 251 + ".png"]
ODD += ["-rf.png", "[bold]x.png", "$(touch never).png", "\u202egnp.png", "a.b.PNG", "'\".png"]


@case("DAT11", "spaces, newline, emoji, no UTF-8, 255 bytes, leading '-' or '['", exits=0)
def _(folder):
    flowers("flowers", *ODD)
    outcome, facts = look()
    assert facts["used"] == len(ODD)
    assert run(in_folder("flowers", training={"max_train_steps": 1})).code == 0
    return outcome


@case("DAT11", "and those broken: every name is escaped", exits=3, says=r"caf\\+udce9\.png.*line\\+x0abreak\.png")
def _(folder):
    for name in ODD[1:5]:
        put(name, b"x")
    return look()[0]


def table(what, data, says):
    """Enters a parquet file that is none; when a good one takes its place, nothing remembers the bad one."""

    @case("DAT12", what, exits=3, says=rf"train\.parquet {says}")
    def _(folder):
        put("train.parquet", data)
        values = toy() | {"data": {"type": "hub", "id": "./flowers/train.parquet", "resolution": 16}}
        outcome = recipe("data", write(values))
        pq.write_table(pa.table({"image": [picture()] * 3}), "flowers/train.parquet")
        assert look(values)[1]["used"] == 3
        return outcome


table(
    "HTML", "<!DOCTYPE html><html>429</html>", r"is not a parquet file \(it starts with b'<!DOCTYPE.*'\): delete it and"
)
table(
    "an LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer, not the file"
)
table("0 bytes", "", r"is empty \(0 bytes\): delete it and download it again")
table("no footer", b"PAR1" + bytes(100), r"is cut short \(it ends after 104 bytes without parquet's footer\)")
table("junk between its ends", b"PAR1" + b"x" * 100 + b"PAR1", r"is damaged \(.*\): delete it and download it again")


@case(
    "DAT14",
    "1x10000 and 50000x10",
    exits=3,
    says=r"2 of 3 .*high\.png is too thin \(1 x 10000, over 8 to 1\); wide\.png",
)
def _(folder):
    put("dot.png", picture(size=(1, 1)))
    put("high.png", picture(size=(1, 10_000)))
    put("wide.png", picture(size=(50_000, 10)))
    assert look()[1]["smaller"] == 1
    return run(in_folder("flowers"))


@case("DAT14", "1x1 is enlarged", exits=0, says="1 smaller than 16 pixels: they are enlarged")
def _(folder):
    put("dot.png", picture(size=(1, 1)))
    return recipe("data", write(in_folder("flowers")))


def meanwhile(what, change):
    """Enters a picture that another program takes away or changes after the folder was listed."""

    @case("DAT15", f"{what} between listing and reading", exits=3, says=r"was changed or removed while .*: start again")
    def _(folder):
        flowers()
        path, read = Path("flowers/b.png"), Folder.__iter__

        def changed(self):
            change(path)
            return read(self)

        with patch.object(Folder, "__iter__", changed):
            outcome = recipe("data", write(in_folder("flowers")))
        assert list(Path("cache/recipe/pictures").iterdir()) == []
        return outcome


def instead(make):
    """Another kind of file takes its place."""
    return lambda path: (path.unlink(), make(path))


meanwhile("removed", Path.unlink)
meanwhile("rewritten", lambda path: path.write_bytes(picture(size=(9, 9))))
meanwhile("become a FIFO", instead(os.mkfifo))
meanwhile("become a device", instead(lambda path: path.symlink_to("/dev/zero")))
meanwhile("become a folder", instead(Path.mkdir))


@case("DAT15", "removed after the pictures were read", exits=0)
def _(folder):
    flowers()
    train = Run._train

    def bare(self, *given):
        for path in Path("flowers").iterdir():
            path.unlink()
        train(self, *given)

    with patch.object(Run, "_train", bare):
        return run(in_folder("flowers"))


@case(
    "DAT17",
    "a data set with a loading script",
    exits=3,
    says=r"me/script is a script \(script\.py\), and scripts are not",
)
def _(folder):
    snapshot = folder / "hub/datasets--me--script/snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "script.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text("0" * 40)
    with patch.object(constants, "HF_HUB_CACHE", str(folder / "hub")):
        outcome = recipe("data", write(toy() | {"data": {"type": "hub", "id": "me/script", "resolution": 16}}))
    assert not (folder / "ran").exists()
    return outcome
