import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from runner.data.decode import BadPicture
from runner.data.folder import Folder
from runner.errors import DataError, Refused


def opened(root: Path, caption_column: str = "text") -> Folder:
    return Folder(id=str(root), caption_column=caption_column, metadata_file=None)


def captions(folder: Folder) -> dict[str, str | None]:
    return {entry.item.name: entry.item.caption for entry in folder}


def labels(folder: Folder) -> dict[str, int | None]:
    return {entry.item.name: entry.item.label for entry in folder}


def problems(folder: Folder) -> dict[str, str]:
    found = {}
    for entry in folder:
        try:
            entry.load()
        except BadPicture as error:
            found[entry.item.name] = str(error)
    return found


def refusal(root: Path, error: type[Exception] = DataError, caption_column: str = "text") -> str:
    with pytest.raises(error) as caught:
        opened(root, caption_column)
    message = str(caught.value)
    assert message.isprintable()
    return message.replace(str(root), "ROOT")


@pytest.fixture
def two(tmp_path, picture):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.jpg")
    return tmp_path


def write_metadata(root: Path, *rows: dict) -> None:
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_all_kinds_in_the_order_of_their_names_bytes(tmp_path, picture):
    names = ["Z.png", "a.JPG", "b.webp", "c/d.bmp", "c.gif", "e.tiff", "é.jpeg", "f g.png", "-x.png", "['x'].png"]
    for name in names:
        picture(tmp_path / name)
    (tmp_path / "notes.md").write_text("no picture")
    picture(tmp_path / ".hidden.png")
    picture(tmp_path / ".thumbs/a.png")
    folder = opened(tmp_path)
    assert [entry.item.name for entry in folder] == sorted(names, key=os.fsencode)
    assert folder.count == len(names)
    assert all(entry.load().size == (20, 24) for entry in folder)


def test_class_folders_are_labels(tmp_path, picture):
    for name in ("tulip/1.png", "rose/1.png", "rose/deep/2.png"):
        picture(tmp_path / name)
    folder = opened(tmp_path)
    assert folder.classes == ["rose", "tulip"]
    assert labels(folder) == {"rose/1.png": 0, "rose/deep/2.png": 0, "tulip/1.png": 1}


def test_pictures_beside_folders_mean_no_labels(tmp_path, picture):
    for name in ("tulip/1.png", "rose/1.png", "x.png"):
        picture(tmp_path / name)
    folder = opened(tmp_path)
    assert folder.classes == []
    assert set(labels(folder).values()) == {None}


def test_jsonl_captions(two):
    write_metadata(two, {"file_name": "a.png", "text": "a rose"}, {"file_name": "./b.jpg", "text": ""})
    assert captions(opened(two)) == {"a.png": "a rose", "b.jpg": None}


def test_csv_captions_with_a_byte_order_mark_quotes_and_line_breaks(two):
    text = '\ufefffile_name,text\r\na.png,"red, ""wild""\nrose"\r\n\r\nb.jpg,\r\n'
    (two / "metadata.csv").write_bytes(text.encode())
    assert captions(opened(two)) == {"a.png": 'red, "wild"\nrose', "b.jpg": None}


def test_another_caption_column(two):
    write_metadata(two, {"file_name": "a.png", "prompt": "x"}, {"file_name": "b.jpg"})
    assert captions(opened(two, "prompt")) == {"a.png": "x", "b.jpg": None}
    message = refusal(two)
    assert message == "metadata.jsonl has no column 'text': set data.caption_column to one of prompt"


def test_metadata_in_subfolders_names_files_from_there(tmp_path, picture):
    for name in ("a/1.png", "b/1.png", "c/1.png"):
        picture(tmp_path / name)
    for folder in ("a", "b"):
        write_metadata(tmp_path / folder, {"file_name": "1.png", "text": folder})
    (tmp_path / "c/1.txt").write_text("from a text file")
    assert captions(opened(tmp_path)) == {"a/1.png": "a", "b/1.png": "b", "c/1.png": "from a text file"}


def test_text_files_beside_pictures(two):
    (two / "a.txt").write_text("\ufeff  a red rose \n", "utf-8")
    (two / "b.txt").write_text("  \n")
    assert captions(opened(two)) == {"a.png": "a red rose", "b.jpg": None}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("une rosé".encode("latin-1"), "has a caption that is not UTF-8: byte 7 of a.txt is 0xe9"),
        (b"red\0rose", "has a caption with a control character: byte 3 of a.txt is 0x00"),
        (b"x" * 100_001, "has a caption of over 100 kB in a.txt"),
    ],
)
def test_bad_text_files_are_broken_pictures(two, data, expected):
    (two / "a.txt").write_bytes(data)
    assert problems(opened(two)) == {"a.png": expected}


def test_metadata_that_names_a_missing_file(two):
    write_metadata(two, *({"file_name": name, "text": ""} for name in ("a.png", "gone.png", "b.jpg", "\x1b[2J.png")))
    message = refusal(two)
    assert "metadata.jsonl names 2 pictures that are not there (gone.png in line 2, \\x1b[2J.png in line 4)" in message


def test_metadata_that_leaves_pictures_out(tmp_path, picture):
    for i in range(8):
        picture(tmp_path / f"{i}.png")
    write_metadata(tmp_path, {"file_name": "0.png", "text": ""})
    expected = "7 pictures have no row in metadata.jsonl (1.png, 2.png, 3.png, 4.png, 5.png and 2 more): add the rows"
    assert refusal(tmp_path).startswith(expected)


def test_metadata_that_names_a_picture_twice(two):
    write_metadata(two, {"file_name": "a.png"}, {"file_name": "b.jpg"}, {"file_name": "./a.png"})
    expected = "metadata.jsonl line 3 names a.png again, first named in metadata.jsonl line 1"
    assert refusal(two).startswith(expected)


def test_metadata_of_both_kinds(two):
    write_metadata(two, {"file_name": "a.png"})
    (two / "metadata.csv").write_text("file_name\na.png\n")
    assert "lie in one folder: keep one of them" in refusal(two)


@pytest.mark.parametrize("name", ["../x.png", "/etc/passwd", "a/../../x.png"])
def test_metadata_that_leaves_the_folder(two, name):
    write_metadata(two, {"file_name": name})
    assert "a file outside the data folder" in refusal(two, Refused)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"file_name": "a.png"}\n{"file_name": \n', "ROOT/metadata.jsonl line 2 is not JSON"),
        (b'["a.png"]\n', "ROOT/metadata.jsonl line 1 is no object"),
        (b"[" * 200_000, "ROOT/metadata.jsonl line 1 is not JSON"),
        (b'{"name": "a.png"}\n', "metadata.jsonl line 1 has no file_name: it has name"),
        (b'{"file_name": 3}\n', "metadata.jsonl line 1 has no file_name"),
        (
            b'{"file_name": "a.png", "text": ["x"]}\n',
            'metadata.jsonl line 1, column text holds ["x"], which is not text',
        ),
        (
            b'{"file_name": "a.png", "text": "a\\u0000"}\n',
            "metadata.jsonl line 1, column text holds the control character \\x00",
        ),
        (b'{"file_name": "a.png", "text": "\\ud800"}\n', "metadata.jsonl line 1, column text holds half a character"),
        (b'{"file_name": "a.png", "text": "%s"}\n' % (b"x" * 100_001), "column text holds a caption of over 100 kB"),
        (
            b'{"file_name": "a.png"}\n{"text": "\xe9"}\n',
            "metadata.jsonl is not UTF-8: line 2, byte 33 of the file is 0xe9",
        ),
        (b"\xff\xfe{\0}\0", "metadata.jsonl is not UTF-8: line 1, byte 0"),
    ],
)
def test_bad_jsonl(two, text, expected):
    (two / "metadata.jsonl").write_bytes(text)
    assert expected in refusal(two)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('file_name,text\na.png,"open\nb.jpg,x\n', "ROOT/metadata.csv line 2 is not CSV (unexpected end of data)"),
        ('file_name,text\na.png,x\nb.jpg,"x"y\n', "ROOT/metadata.csv line 3 is not CSV"),
        ("file_name,text\na.png,red, wild\n", "ROOT/metadata.csv line 2 has 3 cells and the header 2"),
        ("file_name;text\na.png;x\n", "metadata.csv line 2 has no file_name: it has file_name;text"),
        ("text,text,file_name\nx,y,a.png\n", "two columns of one name"),
        ("file_name,text\na.png," + "x" * 200_000, "metadata.csv line 2 is not CSV (field larger than field limit"),
        ("", "2 pictures have no row in metadata.csv (a.png, b.jpg)"),
    ],
)
def test_bad_csv(two, text, expected):
    (two / "metadata.csv").write_text(text)
    assert expected in refusal(two)


def test_no_such_folder_and_other_mistakes(tmp_path, picture):
    assert refusal(tmp_path / "gone") == "the folder ROOT is not there: correct data.id"
    assert "is a file" in refusal(picture(tmp_path / "a.png"))
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    assert "set data.type to hub" in refusal(tmp_path / "x.parquet")
    (tmp_path / "empty").mkdir()
    assert "has no picture in it" in refusal(tmp_path / "empty")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_and_special_files_are_never_opened(tmp_path, picture):
    root = tmp_path / "data"
    outside = picture(tmp_path / "outside.png")
    picture(root / "a.png")
    (root / "same.png").symlink_to("a.png")
    (root / "leaves.png").symlink_to(outside)
    (root / "gone.png").symlink_to("nothing.png")
    (root / "loop.png").symlink_to("loop.png")
    (root / "up").symlink_to(root, target_is_directory=True)
    (root / "etc").symlink_to("/etc", target_is_directory=True)
    os.mkfifo(root / "pipe.png")
    os.mkfifo(root / "pipe")
    os.mkfifo(root / "a.txt")
    found = problems(opened(root))
    assert found.pop("gone.png").startswith("is a link that leads nowhere")
    assert found.pop("loop.png").startswith("is a link that leads nowhere")
    assert found == {
        "a.png": "has a caption file, a.txt, that is not a regular file",
        "leaves.png": "is a link that leaves the folder: put the file itself there",
        "up": "is a link to a folder, which is not followed",
        "etc": "is a link that leaves the folder: put the file itself there",
        "pipe.png": "is not a regular file",
    }


def test_metadata_behind_a_link_that_leaves_is_not_read(tmp_path, picture):
    picture(tmp_path / "data/a.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,x\n")
    (tmp_path / "data/metadata.csv").symlink_to(tmp_path / "metadata.csv")
    assert "is a link that leaves the folder" in refusal(tmp_path / "data")


def test_pictures_of_kinds_that_are_not_read_are_named(two):
    (two / "c.heic").write_bytes(b"x")
    assert problems(opened(two)) == {"c.heic": "is of a kind not read (.heic): save it as PNG"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow only UTF-8 names")
def test_odd_names_survive(tmp_path, picture):
    names = [b"caf\xe9.png", "🌷.png".encode(), b"line\nbreak.png", b"[bold]x.png", b"x" * 251 + b".png"]
    good = picture(tmp_path / "first.png")
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(good.read_bytes())
    folder = opened(tmp_path)
    assert [os.fsencode(entry.item.name) for entry in folder] == sorted([*names, b"first.png"])
    assert problems(folder) == {}


def test_the_fingerprint_tells_what_decides_pixels_captions_and_labels(two, picture, tmp_path_factory):
    def known() -> str:
        return opened(two).fingerprint

    seen = [known()]
    assert known() == seen[0]
    picture(two / "a.png", colour=(0, 0, 0))
    os.utime(two / "a.png", ns=(1, 1))
    seen.append(known())
    (two / "a.txt").write_text("a rose")
    seen.append(known())
    write_metadata(two, {"file_name": "a.png", "text": "x"}, {"file_name": "b.jpg"})
    seen.append(known())
    write_metadata(two, {"file_name": "a.png", "text": "y"}, {"file_name": "b.jpg"})
    seen.append(known())
    (two / "b.jpg").rename(two / "c.jpg")
    (two / "metadata.jsonl").unlink()
    seen.append(known())
    assert len(set(seen)) == len(seen)
    elsewhere = tmp_path_factory.mktemp("moved") / "data"
    two.rename(elsewhere)
    assert opened(elsewhere).fingerprint == seen[-1]


@pytest.mark.parametrize("change", ["remove", "rewrite"])
def test_a_file_that_changes_under_the_reader_stops_it(two, picture, change):
    first = next(iter(opened(two)))
    if change == "remove":
        (two / "a.png").unlink()
    else:
        picture(two / "a.png", size=(50, 60))
    with pytest.raises(DataError, match="changed or removed"):
        first.load()


def test_real_flowers_and_stamps(shared_data):
    flowers = opened(shared_data / "flowers/train")
    assert flowers.count == 2975
    assert flowers.classes == ["daisy", "dandelion", "rose", "sunflower", "tulip"]
    assert isinstance(next(iter(flowers)).load(), Image.Image)
    stamps = opened(shared_data / "stamps")
    assert stamps.count == 497
    assert stamps.classes == []
    assert captions(stamps)["animals__amphibians__frog.png"] == "A frog."
    assert None not in captions(stamps).values()


def test_a_caption_that_goes_away_stops_the_reader(two):
    (two / "b.txt").write_text("a rose")
    entries = iter(opened(two))
    next(entries)
    (two / "b.txt").unlink()
    with pytest.raises(DataError, match="changed or removed"):
        next(entries)


def elsewhere(two: Path, name: str, text: str) -> Folder:
    path = two.parent / f"{two.name}-{name}"
    path.write_text(text)
    return Folder(id=str(two), caption_column="text", metadata_file=str(path))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "file_name,text\na.png,red\nb.jpg,\n"),
        ("m.jsonl", '{"file_name": "a.png", "text": "red"}\n{"file_name": "b.jpg", "text": null}\n'),
    ],
)
def test_a_metadata_file_that_lies_elsewhere_is_the_only_one(two, name, text):
    write_metadata(two, {"file_name": "a.png", "text": "not this"})
    (two / "metadata.parquet").touch()
    (two / "b.txt").write_text("nor this")
    assert captions(elsewhere(two, name, text)) == {"a.png": "red", "b.jpg": None}


def test_a_metadata_file_elsewhere_names_files_of_subfolders(tmp_path, picture):
    picture(tmp_path / "d/rose/a.png")
    folder = elsewhere(tmp_path / "d", "m.csv", "file_name,text\nrose/a.png,red\n")
    assert captions(folder) == {"rose/a.png": "red"}
    assert labels(folder) == {"rose/a.png": 0}


@pytest.mark.parametrize(
    ("name", "text", "error", "said"),
    [
        ("m.csv", "file_name,text\na.png,x\n", DataError, "1 picture has no row in "),
        ("m.csv", "file_name,text\na.png,x\nb.jpg,y\nc.png,z\n", DataError, "names a picture that is not there"),
        ("m.csv", "file_name,text\na.png,x\na.png,y\nb.jpg,y\n", DataError, "line 3 names a.png again"),
        ("m.csv", "file_name,text\n../secret.png,x\n", Refused, "a file outside the data folder"),
        ("m.csv", "file_name,other\na.png,x\nb.jpg,y\n", DataError, "has no column 'text'"),
        ("m.jsonl", "{\n", DataError, "line 1 is not JSON"),
        ("m.json", "[]", DataError, "is neither a .jsonl nor a .csv file: correct data.metadata_file"),
    ],
)
def test_a_metadata_file_elsewhere_that_does_not_fit(two, name, text, error, said):
    with pytest.raises(error) as caught:
        elsewhere(two, name, text)
    assert said in str(caught.value)
    assert str(two.parent / f"{two.name}-{name}") in str(caught.value)


def test_a_metadata_file_that_is_not_there(two):
    for path in ("captions.jsonl", str(two), str(two / "gone.jsonl")):
        with pytest.raises(DataError, match=r"correct data\.metadata_file"):
            Folder(id=str(two), caption_column="text", metadata_file=path)


def test_captions_elsewhere_change_the_fingerprint(two):
    text = "file_name,text\na.png,{}\nb.jpg,\n"
    prints = {elsewhere(two, "m.csv", text.format(word)).fingerprint for word in ("red", "blue")}
    assert len(prints | {opened(two).fingerprint}) == 3
