from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from runner.data.cache import prepare
from runner.data.export import export
from runner.data.mixed import Mixed
from runner.data.source import open_source
from runner.errors import DataError
from runner.processes.world import World


def entry(path, **given):
    """An entry of `data.sources` with every key of a folder."""
    defaults = {"type": "folder", "caption_column": "text", "metadata_file": None, "repeats": 1}
    return {**defaults, "instance_prompt": None, "caption_templates": None, "id": str(path), **given}


def table(path, count=2):
    """A parquet file of pictures with captions."""
    rows = []
    for i in range(count):
        file = BytesIO()
        Image.new("RGB", (20, 20), (i, 0, 200)).save(file, "PNG")
        rows.append({"image": {"bytes": file.getvalue(), "path": f"{i}.png"}, "said": f"row {i}"})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    hub = {"split": "train", "revision": None, "image_column": None, "label_column": None, "repeats": 1}
    return {**hub, "type": "hub", "id": str(path), "caption_column": "said"}


def names(source):
    return [item.name for item, _ in source]


def test_one_source_after_the_other_with_names_that_tell_it(tmp_path, picture):
    for name in ("x/roses/b.png", "x/roses/a.png", "y/roses/a.png", "tulips/a.png"):
        picture(tmp_path / name)
    folders = ("x/roses", "y/roses", "tulips")
    source = Mixed(sources=[entry(tmp_path / folder) for folder in folders], offline=True)
    assert names(source) == ["roses/a.png", "roses/b.png", "roses (2)/a.png", "tulips/a.png"]
    assert names(source) == names(source)
    assert source.count == 4
    assert [item.origin for item, _ in source] == [0, 0, 1, 2]
    assert [load().size for _, load in source] == [(20, 24)] * 4


def test_repeats_captions_and_classes_of_the_prepared_pictures(tmp_path, picture, section, progress):
    for name in ("a/rose/1.png", "a/tulip/1.png", "b/2.png", "c/lily/3.png", "c/rose/3.png"):
        picture(tmp_path / name)
    sources = [
        entry(tmp_path / "a", instance_prompt="a flower"),
        entry(tmp_path / "b", repeats=20, caption_templates=["a photo of {caption}"]),
        entry(tmp_path / "c", repeats=3),
    ]
    source = open_source(section(type="mixed", sources=sources), offline=True)
    pictures = prepare(source, section=section(), cache_dir=tmp_path / "cache", progress=progress, world=World())
    assert pictures.classes == ["rose", "tulip", "lily"]
    assert pictures.labels.tolist() == [0, 1, -1, 2, 0]
    assert pictures.repeats.tolist() == [1, 1, 20, 3, 3]
    assert [dict(pictures.caption_keys(i)) for i in range(5)] == [
        {"instance_prompt": "a flower"},
        {"instance_prompt": "a flower"},
        {"caption_templates": ["a photo of {caption}"]},
        {},
        {},
    ]


def test_repeats_follow_the_recipe_when_the_cache_stays(tmp_path, picture, section, progress):
    picture(tmp_path / "a/1.png")
    (tmp_path / "a/0.png").touch()  # broken, before the good one

    def ready(repeats):
        source = Mixed(sources=[entry(tmp_path / "a", repeats=repeats)], offline=True)
        given = section(on_error="skip")
        return prepare(source, section=given, cache_dir=tmp_path / "cache", progress=progress, world=World())

    assert [ready(n).repeats.tolist() for n in (2, 7)] == [[2], [7]]
    assert ready(2).fingerprint == ready(7).fingerprint
    assert len(progress.bars) == 1
    assert "a/0.png is empty" in progress.warnings[0]


def test_a_folder_and_a_table(tmp_path, picture):
    picture(tmp_path / "a/1.png")
    (tmp_path / "a/1.txt").write_text("one")
    source = Mixed(sources=[entry(tmp_path / "a"), table(tmp_path / "t.parquet")], offline=True)
    found = [(item.name, item.caption) for item, _ in source]
    assert found == [
        ("a/1.png", "one"),
        ("t.parquet/train/0 0.png", "row 0"),
        ("t.parquet/train/1 1.png", "row 1"),
    ]
    assert source.count == 3


@pytest.mark.parametrize(("count", "limit"), [(1, 4), (2, None), (2, 2), (3, 6)])
def test_shares_are_together_all_pictures_in_their_order(tmp_path, picture, count, limit):
    for i in range(3):
        picture(tmp_path / f"a/{i}.png")
    sources = [entry(tmp_path / "a"), table(tmp_path / "t.parquet", 4), entry(tmp_path / "a")]
    source = Mixed(sources=sources, offline=True)
    rows = [(place, entry.item.name) for rank in range(count) for place, entry in source.part(rank, count, limit)]
    assert [name for _, name in sorted(rows)] == names(source)[:limit]


def test_the_fingerprint_follows_sources_and_their_order(tmp_path, picture):
    picture(tmp_path / "a/1.png")
    picture(tmp_path / "b/1.png", colour=(1, 2, 3), size=(30, 30))
    a, b = entry(tmp_path / "a"), entry(tmp_path / "b")
    prints = {Mixed(sources=sources, offline=True).fingerprint for sources in ([a, b], [b, a], [a], [a, a])}
    assert len(prints) == 4
    assert Mixed(sources=[a, b], offline=True).fingerprint in prints


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"id": "gone"}, "the folder gone is not there: correct data.sources[1].id"),
        ({"metadata_file": "/gone.csv"}, "the file /gone.csv is not there: correct data.sources[1].metadata_file"),
        ({"type": "hub", "id": "no id"}, "correct data.sources[1].id"),
    ],
)
def test_a_fault_names_its_source(tmp_path, picture, given, said):
    picture(tmp_path / "a/1.png")
    keys = {key: value for key, value in table(tmp_path / "t.parquet").items() if key not in ("type", "id")}
    good = entry(tmp_path / "a")
    with pytest.raises(DataError) as caught:
        Mixed(sources=[good, {**keys, **good, **given}], offline=True)
    assert str(caught.value).endswith(said)


def test_a_fault_without_a_key_names_its_source_too(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"^data\.sources\[0\]: .* has no picture in it"):
        Mixed(sources=[entry(tmp_path / "empty")], offline=True)


def test_an_export_of_all_sources_reads_as_one_folder(tmp_path, picture, progress):
    picture(tmp_path / "a/rose/1.png")
    (tmp_path / "a/rose/1.txt").write_text("one")
    source = Mixed(sources=[entry(tmp_path / "a"), table(tmp_path / "t.parquet")], offline=True)
    out = tmp_path / "out"
    assert export(source, out, progress, background="#ffffff", max_images=None, on_error="stop") == 3
    again = open_source(entry(out), offline=True)
    assert [(item.name, item.caption) for item, _ in again] == [
        ("000001.png", "row 0"),
        ("000002.png", "row 1"),
        ("rose/000000.png", "one"),
    ]


def test_an_epoch_shows_each_as_often_as_its_source_is_repeated(tmp_path, picture):
    for name, count in (("a", 3), ("b", 2)):
        for i in range(count):
            picture(tmp_path / name / f"{i}.png")
    both = Mixed(sources=[entry(tmp_path / "a", repeats=4), entry(tmp_path / "b")], offline=True)
    assert (both.count, both.shown(None), both.shown(4), both.shown(2)) == (5, 14, 13, 8)
