"""`data.type: hub` with parquet files on disk."""

import io
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from runner.data.cache import prepare
from runner.data.hub import OnDisk, open_hub
from runner.data.source import Place
from runner.errors import DataError
from runner.processes.world import World

KEYS = {"config": None, "split": "train", "revision": None, "streaming": False, "offline": True}
KEYS |= {"image_column": None, "caption_column": None, "label_column": None}


def png(level: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("L", (20, 20), level).save(file, "PNG")
    return file.getvalue()


def flowers(count: int = 10, start: int = 0) -> Dataset:
    """Written as `push_to_hub` writes: features in the file's schema."""
    features = Features(
        {"image": ImageFeature(), "label": ClassLabel(names=["rose", "tulip"]), "text": Value("string")}
    )
    numbers = range(start, start + count)
    columns = {
        "image": [{"bytes": png(i), "path": f"{i}.png"} for i in numbers],
        "label": [i % 2 for i in numbers],
        "text": [f"flower {i}" for i in numbers],
    }
    return Dataset.from_dict(columns, features=features)


def saved(path: Path, data: Dataset | dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, Dataset):
        data.to_parquet(path)
    else:
        pq.write_table(pa.table(data), path, row_group_size=3)
    return path


def opened(path: Path, **given) -> OnDisk:
    return open_hub(id=str(path), **KEYS | given)


def levels(source) -> list[int]:
    return [int(np.asarray(entry.load()).max()) for entry in source]


def refusal(path: Path, **given) -> str:
    with pytest.raises(DataError) as caught:
        source = opened(path, **given)
        levels(source)
    message = str(caught.value)
    assert message.isprintable()
    return message.replace(str(path), "FILE")


def test_one_file_with_everything(tmp_path):
    source = opened(saved(tmp_path / "flowers.parquet", flowers()), caption_column="text")
    items = [entry.item for entry in source]
    assert source.count == 10
    assert source.classes == ["rose", "tulip"]
    assert [item.label for item in items] == [0, 1] * 5
    assert items[3].caption == "flower 3"
    assert items[3].name == "train/3 3.png"
    assert levels(source) == list(range(10))
    assert levels(source) == list(range(10))  # a second time from the start


def test_captions_only_when_asked_for(tmp_path):
    source = opened(saved(tmp_path / "flowers.parquet", flowers()))
    assert {entry.item.caption for entry in source} == {None}


def test_a_folder_of_shards_in_splits(tmp_path):
    saved(tmp_path / "data/train-00000-of-00002.parquet", flowers(4))
    saved(tmp_path / "data/train-00001-of-00002.parquet", flowers(3, 4))
    saved(tmp_path / "data/test-00000-of-00001.parquet", flowers(2, 50))
    saved(tmp_path / ".cache/train-00000-of-00001.parquet", flowers(9))
    assert levels(opened(tmp_path)) == list(range(7))
    assert levels(opened(tmp_path, split="test+train")) == [50, 51, *range(7)]
    assert levels(opened(tmp_path, split="train[2:5]+test[:1]")) == [2, 3, 4, 50]
    assert levels(opened(tmp_path, split="train[-2:]")) == [5, 6]
    assert levels(opened(tmp_path, split="train[50%:]")) == [4, 5, 6]
    assert opened(tmp_path, split="train[2:5]+test").count == 5
    assert [entry.item.name for entry in opened(tmp_path, split="train[2:4]")] == ["train/2 2.png", "train/3 3.png"]


@pytest.mark.parametrize(("count", "limit"), [(1, None), (2, None), (3, None), (40, None), (2, 7)])
def test_shares_are_together_all_rows_in_their_order(tmp_path, count, limit):
    for i in range(3):
        saved(tmp_path / f"data/train-{i:05d}-of-00003.parquet", flowers(5, 5 * i))
    saved(tmp_path / "data/test.parquet", flowers(4, 50))
    source = opened(tmp_path, split="test+train[2:-1]+train[:1]")
    whole = [entry.item.name for entry in source][:limit]
    assert len(whole) == (limit or 4 + 12 + 1)
    rows = [(place, entry.item.name) for rank in range(count) for place, entry in source.part(rank, count, limit)]
    assert rows == [(Place(0, row), name) for row, name in enumerate(whole)]


def test_a_share_reads_no_row_group_but_its_own(tmp_path, monkeypatch):
    for i in range(2):
        table = pa.table({"image": [png(10 * i + j) for j in range(9)]})
        pq.write_table(table, tmp_path / f"train-{i:05d}-of-00002.parquet", row_group_size=3)
    read, plain = [], pq.ParquetFile.iter_batches

    def noted(file, *arguments, row_groups, **options):
        read.append((file.metadata.num_rows, *row_groups))
        return plain(file, *arguments, row_groups=row_groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    source, expected = opened(tmp_path), [*range(9), *range(10, 19)]
    for rank, groups in enumerate([[0, 1], [2, 0], [1, 2]]):
        read.clear()
        assert levels(entry for _, entry in source.part(rank, 3, None)) == expected[6 * rank : 6 * rank + 6]
        assert read == [(9, group) for group in groups]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("val/0.parquet", "validation"),
        ("my-dev.parquet", "validation"),
        ("testing_1.parquet", "test"),
        ("eval.parquet", "test"),
        ("0000.parquet", "train"),
        ("latest.parquet", "train"),
    ],
)
def test_splits_are_told_by_names(tmp_path, name, split):
    saved(tmp_path / name, flowers(2))
    assert opened(tmp_path, split=split).count == 2


def test_a_configuration_is_a_subfolder(tmp_path):
    saved(tmp_path / "small/train.parquet", flowers(2))
    saved(tmp_path / "large/train.parquet", flowers(5))
    assert opened(tmp_path, config="small").count == 2
    assert "has no subfolder 'huge'" in refusal(tmp_path, config="huge")


def test_plain_binary_and_struct_columns(tmp_path):
    plain = saved(tmp_path / "plain.parquet", {"jpg": [png(1), png(2)], "txt": ["a", " "]})
    source = opened(plain, caption_column="txt")
    assert levels(source) == [1, 2]
    assert [entry.item.caption for entry in source] == ["a", None]
    struct = saved(tmp_path / "struct.parquet", {"picture": [{"bytes": png(7), "path": None}]})
    assert levels(opened(struct)) == [7]


def test_labels_of_words_and_numbers(tmp_path):
    data = {"image": [png(i) for i in range(4)], "kind": ["b", "a", None, "b"], "code": [7, 30, 7, 4]}
    path = saved(tmp_path / "x.parquet", data)
    assert opened(path).classes == []
    words = opened(path, label_column="kind")
    assert words.classes == ["a", "b"]
    assert [entry.item.label for entry in words] == [1, 0, None, 1]
    numbers = opened(path, label_column="code")
    assert numbers.classes == ["4", "7", "30"]
    assert [entry.item.label for entry in numbers] == [1, 2, 1, 0]


def test_columns_that_are_not_there_or_do_not_fit(tmp_path):
    path = saved(tmp_path / "x.parquet", flowers(2))
    assert (
        refusal(path, image_column="img") == "data.image_column 'img' is not there: the data set has image, label, text"
    )
    assert refusal(path, caption_column="caption").startswith("data.caption_column 'caption' is not there")
    expected = "data.caption_column 'label' holds values of type ClassLabel, not text: the columns of text are text"
    assert refusal(path, caption_column="label") == expected
    assert refusal(path, image_column="text") == "data.image_column 'text' holds values of type string, not pictures"
    assert "data.label_column 'image' holds values of type Image, which are no classes" in refusal(
        path, label_column="image"
    )
    none = saved(tmp_path / "none.parquet", {"text": ["a"]})
    assert refusal(none) == "the data set has no column of pictures: it has text"
    two = saved(tmp_path / "two.parquet", {"front": [png()], "back": [png()]})
    assert refusal(two) == "the data set has 2 columns of pictures: set data.image_column to one of front, back"
    assert levels(opened(two, image_column="back")) == [0]


def test_splits_that_are_not_there(tmp_path):
    path = saved(tmp_path / "x.parquet", flowers(4))
    assert refusal(path, split="test") == "data.split 'test' is not there: the data set has train"
    assert "is not of the form" in refusal(path, split="train[")
    assert "is not of the form" in refusal(path, split="")
    assert refusal(path, split="train[3:3]") == "data.split 'train[3:3]' holds no row of the 4 there are"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "FILE is empty (0 bytes): delete it and download it again"),
        (b"<!DOCTYPE html><html>429</html>", "FILE is not a parquet file (it starts with b'<!DOCTYPE ht'): delete it"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "FILE is a Git LFS pointer"),
        (b"PAR1", "FILE is cut short (it ends after 4 bytes without parquet's footer)"),
        (b"PAR1" + b"x" * 50 + b"PAR1", "FILE is damaged ("),
    ],
)
def test_files_that_are_no_parquet(tmp_path, data, expected):
    path = tmp_path / "train.parquet"
    path.write_bytes(data)
    assert refusal(path).startswith(expected)
    assert refusal(tmp_path).startswith(expected.replace("FILE", "FILE/train.parquet"))


def test_a_parquet_file_cut_short(tmp_path):
    path = saved(tmp_path / "x.parquet", flowers())
    path.write_bytes(path.read_bytes()[:-100])
    assert "is cut short" in refusal(path)


def test_damage_in_the_middle_is_one_sentence(tmp_path):
    path = saved(tmp_path / "x.parquet", {"image": [png(i) for i in range(30)]})
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = b"\xff" * (len(data) // 2 - 4)
    path.write_bytes(data)
    assert refusal(path).startswith("FILE is damaged (")


def test_shards_with_other_columns(tmp_path):
    saved(tmp_path / "a.parquet", {"image": [png()], "x": ["1"]})
    saved(tmp_path / "b.parquet", {"image": [png()], "y": ["1"]})
    assert "b.parquet has the columns image, y, and a.parquet has image, x" in refusal(tmp_path)


def test_broken_rows_are_pictures_with_a_reason(tmp_path, section, progress):
    rows = [
        {"bytes": png(1), "path": None},
        None,
        {"bytes": b"junk", "path": "j.png"},
        {"bytes": None, "path": "/etc/passwd"},
    ]
    path = saved(tmp_path / "x.parquet", {"image": rows})
    pictures = prepare(
        opened(path),
        section=section(type="hub", id=str(path), on_error="skip"),
        cache_dir=tmp_path / "c",
        progress=progress,
        world=World(),
    )
    assert len(pictures) == 1
    assert pictures.skipped == [
        ("train/1", "is missing: its row holds nothing"),
        ("train/2 j.png", "cannot be read as PNG, JPEG, WEBP, BMP, GIF or TIFF (it is text)"),
        ("train/3 passwd", "is only named in its row (/etc/passwd), not held there"),
    ]


def test_the_fingerprint_tells_files_split_and_columns(tmp_path):
    path = saved(tmp_path / "x.parquet", flowers(4))
    seen = {opened(path).fingerprint}
    assert opened(path).fingerprint in seen
    for given in ({"split": "train[:2]"}, {"caption_column": "text"}):
        seen.add(opened(path, **given).fingerprint)
    saved(path, flowers(5))
    seen.add(opened(path).fingerprint)
    assert len(seen) == 4


def test_nothing_there(tmp_path):
    assert refusal(tmp_path / "gone.parquet") == "FILE is not there: correct data.id"
    assert "has no parquet file in it: for a folder of pictures set data.type to folder" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.parquet")
    assert refusal(tmp_path / "pipe.parquet") == "FILE is neither a file nor a folder: correct data.id"
    with pytest.raises(DataError, match="neither there as a path nor an id of the hub"):
        open_hub(id="a/b/c", **KEYS)


def test_memory_stays_flat(tmp_path):
    """Reading holds a few rows, not the file: 400 rows of 100 kB within 12 MB."""
    noise = np.random.default_rng(0).bytes(100_000)
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": [noise] * 400}), path, row_group_size=20, use_dictionary=False)
    assert path.stat().st_size > 35_000_000
    before, most = pa.total_allocated_bytes(), 0
    for _ in opened(path):
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < 12_000_000


def test_paths_that_are_not_utf8(tmp_path):
    folder = tmp_path / "caf\udce9"
    try:
        saved(folder / "x.parquet", flowers(1))
    except (OSError, UnicodeError):
        pytest.skip("this file system takes only UTF-8 names")
    assert levels(opened(folder)) == [0]
    assert opened(folder).fingerprint
