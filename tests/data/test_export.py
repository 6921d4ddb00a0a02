import json

import numpy as np
import pytest
from PIL import Image

from runner.data.decode import BadPicture
from runner.data.export import export
from runner.data.folder import Folder
from runner.data.source import Item, Listed
from runner.errors import DataError, EnvironmentFault, UsageError

ALL = {"background": "#ffffff", "max_images": None, "on_error": "stop"}


class Drawn(Listed):
    def __init__(self, *items: Item, classes: list[str], fingerprint: str = "one") -> None:
        self.items, self.classes, self.fingerprint = items, classes, fingerprint
        self.asked: list[int] = []
        self.bad: set[int] = set()

    def picture(self, index: int) -> Image.Image:
        self.asked.append(index)
        if index in self.bad:
            raise BadPicture("is bad")
        return Image.new("RGBA", (30 + index, 20), (10 * index, 0, 0, 255))


def flowers() -> Drawn:
    items = (Item("x", "a rose", 0), Item("y", None, 1), Item("z\x1b", 'with "quotes"\n🌷', 0))
    return Drawn(*items, classes=["rose", "tulip"])


def rows(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def test_what_is_exported_can_be_trained_on(tmp_path, progress):
    source = flowers()
    assert export(source, tmp_path / "out/deep", progress, **ALL) == 3
    assert rows(tmp_path / "out/deep") == [
        {"file_name": "rose/000000.png", "text": "a rose", "label": "rose"},
        {"file_name": "tulip/000001.png", "text": None, "label": "tulip"},
        {"file_name": "rose/000002.png", "text": 'with "quotes"\n🌷', "label": "rose"},
    ]
    again = Folder(id=str(tmp_path / "out/deep"), caption_column="text", metadata_file=None)
    assert again.classes == source.classes
    found = {entry.item.name: (entry.item.caption, entry.item.label, entry.load()) for entry in again}
    assert [found[f"{n}.png"][:2] for n in ("rose/000000", "tulip/000001", "rose/000002")] == [
        ("a rose", 0),
        (None, 1),
        ('with "quotes"\n🌷', 0),
    ]
    picture = found["rose/000002.png"][2]
    assert (picture.mode, picture.size) == ("RGB", (32, 20))
    assert np.asarray(picture)[0, 0].tolist() == [20, 0, 0]
    assert progress.bars == [(f"Exporting to {tmp_path / 'out/deep'}", 3, 3)]


def test_without_classes_files_lie_flat(tmp_path, progress):
    export(Drawn(Item("a", None, None), classes=[]), tmp_path / "out", progress, **ALL)
    assert rows(tmp_path / "out") == [{"file_name": "000000.png", "text": None}]


def test_an_interrupted_export_goes_on(tmp_path, progress):
    class Stopped(Drawn):
        def __iter__(self):
            yield from list(super().__iter__())[:2]
            raise KeyboardInterrupt

    items = [Item(str(i), None, None) for i in range(40)]
    with pytest.raises(KeyboardInterrupt):
        export(Stopped(*items, classes=[]), tmp_path / "out", progress, **ALL)
    assert not (tmp_path / "out/metadata.jsonl").exists()
    with pytest.raises(DataError, match="is an export that did not finish: give the same 'recipe data … --export' ag"):
        Folder(id=str(tmp_path / "out"), caption_column="text", metadata_file=None)
    there = {int(path.stem) for path in (tmp_path / "out").glob("*.png")}
    source = Drawn(*items, classes=[])
    assert export(source, tmp_path / "out", progress, **ALL) == 40
    assert sorted(source.asked) == sorted(set(range(40)) - there)
    assert len(rows(tmp_path / "out")) == 40
    assert Folder(id=str(tmp_path / "out"), caption_column="text", metadata_file=None).count == 40


def test_a_finished_export_is_never_touched_again(tmp_path, progress):
    assert export(flowers(), tmp_path / "out", progress, **ALL) == 3
    (tmp_path / "out/rose/000000.png").unlink()
    (tmp_path / "out/metadata.jsonl").write_text("mine\n")
    source = flowers()
    assert export(source, tmp_path / "out", progress, **ALL) == 1
    assert source.asked == []
    assert (tmp_path / "out/metadata.jsonl").read_text() == "mine\n"
    assert not (tmp_path / "out/rose/000000.png").exists()


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-5], lambda data: b"x"])
def test_a_file_cut_short_is_written_again(tmp_path, progress, damage):
    source = flowers()
    source.bad = {1}
    with pytest.raises(DataError):
        export(source, tmp_path / "out", progress, **ALL)
    path = tmp_path / "out/rose/000000.png"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    source = flowers()
    export(source, tmp_path / "out", progress, **ALL)
    assert sorted(source.asked) == [0, 1]
    assert path.read_bytes() == whole


def test_foreign_files_are_never_touched(tmp_path, progress):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/000000.png").write_text("mine")
    with pytest.raises(UsageError, match="holds other files: choose a new or empty folder"):
        export(flowers(), tmp_path / "out", progress, **ALL)
    assert (tmp_path / "out/000000.png").read_text() == "mine"
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_an_export_of_other_data_is_not_mixed(tmp_path, progress):
    export(flowers(), tmp_path / "out", progress, **ALL)
    other = flowers()
    other.fingerprint = "two"
    for source, change in ((other, {}), (flowers(), {"background": "#000000"}), (flowers(), {"max_images": 2})):
        with pytest.raises(UsageError, match="holds an export of other data"):
            export(source, tmp_path / "out", progress, **ALL | change)


def test_broken_pictures(tmp_path, progress):
    source = flowers()
    source.bad = {1}
    with pytest.raises(DataError, match=r"^1 of 3 pictures cannot be used \(y is bad\): repair"):
        export(source, tmp_path / "out", progress, **ALL)
    assert not (tmp_path / "out/metadata.jsonl").exists()
    assert export(source, tmp_path / "out", progress, **ALL | {"on_error": "skip"}) == 2
    assert [row["file_name"] for row in rows(tmp_path / "out")] == ["rose/000000.png", "rose/000002.png"]
    assert progress.warnings == ["1 of 3 pictures cannot be used (y is bad): skipped, 2 are exported"]


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_nothing_but_broken_pictures(tmp_path, progress, on_error):
    source = flowers()
    source.bad = {0, 1, 2}
    with pytest.raises(DataError, match=r"^3 of 3 pictures cannot be used \(x is bad; .*\): check data\.id"):
        export(source, tmp_path / "out", progress, **ALL | {"on_error": on_error})
    assert not (tmp_path / "out/metadata.jsonl").exists()


def test_the_first_n_pictures(tmp_path, progress):
    assert export(flowers(), tmp_path / "out", progress, **ALL | {"max_images": 2}) == 2


def test_class_names_never_leave_the_folder(tmp_path, progress):
    names = ["../up", "/etc/x", "a/b", "a:b", "", "..", ".hidden", "Rose", "rose", "con\x00trol", "übung 花", "-rf"]
    items = [Item(str(i), None, i) for i in range(len(names))]
    export(Drawn(*items, classes=names), tmp_path / "out", progress, **ALL)
    folders = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert len(folders) == len(names)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert all(not path.name.startswith((".", "-")) for path in folders)
    assert [row["label"] for row in rows(tmp_path / "out")] == names
    assert all((tmp_path / "out" / row["file_name"]).is_file() for row in rows(tmp_path / "out"))


def test_a_folder_that_cannot_be_made(tmp_path, progress):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match="cannot write"):
        export(flowers(), tmp_path / "file/out", progress, **ALL)
