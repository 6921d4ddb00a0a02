"""`data.type: hub` over the network, against a hub of our own on this machine."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.test_parquet import flowers, png
from tests.fake_hub import COMMIT, ERRORS, serve

BASE = {"type": "hub", "config": None, "split": "train", "revision": None, "streaming": False}
BASE |= {"image_column": None, "caption_column": None, "label_column": None}


def parquet(count: int, start: int = 0) -> bytes:
    file = io.BytesIO()
    pq.write_table(flowers(count, start).with_format("arrow")[:], file)
    return file.getvalue()


def tar(**members: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name.replace("_", "."))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def card(*lines: str) -> bytes:
    return "\n".join(["---", *lines, "---", ""]).encode()


def configs(**data_files: str) -> bytes:
    lines = [f"- config_name: {name}\n  data_files: {files}" for name, files in data_files.items()]
    return card("configs:", *lines)


def only_paths() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"image": [{"bytes": None, "path": "/etc/passwd"}]}), file)
    return file.getvalue()


REPOSITORIES = {
    "me/flowers": {
        "README.md": card("license: mit"),
        "data/train-00000-of-00002.parquet": parquet(3),
        "data/train-00001-of-00002.parquet": parquet(2, 3),
        "data/test-00000-of-00001.parquet": parquet(2, 50),
    },
    "me/half": {
        "data/train-00000-of-00003.parquet": parquet(3),
        "data/train-00001-of-00003.parquet": parquet(2, 3),
        "data/train-00002-of-00003.parquet": b"<!DOCTYPE html><html>too many requests</html>",
    },
    "me/tars": {"train/0.tar": tar(a_png=png(3), b_png=png(4)), "train/1.tar": tar(c_png=png(5))},
    "me/counted": {
        "README.md": card("dataset_info:", "  splits:", "  - name: train", "    num_examples: 4", "    num_bytes: 1"),
        "data/train-00000-of-00001.parquet": parquet(4),
    },
    "me/folder": {"train/rose/1.png": png(1), "train/tulip/2.png": png(2)},
    "me/tar": {"train/0.tar": tar(a_png=png(3), a_txt=b"three", b_png=png(4), b_txt=b"four")},
    "me/pickle": {"train/0.tar": tar(a_png=png(3), a_pickle=b"cos\nsystem\n(S'touch /tmp/never'\ntR.")},
    "me/script": {"script.py": b"raise SystemExit('code was run')", "data.parquet": parquet(1)},
    "me/configs": {
        "README.md": configs(small="small.parquet", large="large.parquet"),
        "small.parquet": parquet(1),
        "large.parquet": parquet(3),
    },
    "me/etc": {"README.md": configs(default="/etc/passwd"), "x.parquet": parquet(1)},
    "me/up": {"README.md": configs(default="../../x.parquet"), "x.parquet": parquet(1)},
    "me/url": {"README.md": configs(default="http://127.0.0.1:9/x.parquet"), "x.parquet": parquet(1)},
    "me/yaml": {".huggingface.yaml": b"configs: []", "x.parquet": parquet(1)},
    "me/text": {"train.csv": b"text\nhello\n"},
    "me/html": {"data/train.parquet": b"<!DOCTYPE html><html>too many requests</html>"},
    "me/paths": {"train.parquet": only_paths()},
    "me/empty": {"README.md": card("license: mit")},
}

ONLINE = {
    "plain": {"id": "me/flowers", "caption_column": "text"},
    "streamed": {"id": "me/flowers", "split": "test+train[1:3]", "streaming": True},
    "percent": {"id": "me/flowers", "split": "train[50%:]"},
    "percent streamed": {"id": "me/flowers", "split": "train[50%:]", "streaming": True},
    "counted": {"id": "me/counted", "split": "train[50%:]", "streaming": True},
    "damaged on disk": {"id": "me/flowers", "damage": True},
    "folder": {"id": "me/folder"},
    "folder streamed": {"id": "me/folder", "streaming": True},
    "tar": {"id": "me/tar", "caption_column": "txt"},
    "pickle": {"id": "me/pickle"},
    "script": {"id": "me/script"},
    "streamed whole": {"id": "me/flowers", "split": "test+train", "streaming": True},
    "two shares": {"id": "me/flowers", "split": "test+train", "streaming": True, "processes": 2},
    "four shares": {"id": "me/flowers", "split": "test+train", "streaming": True, "processes": 4},
    "shares of few": {"id": "me/flowers", "streaming": True, "processes": 2, "max_images": 4},
    "shares of a slice": {"id": "me/flowers", "split": "train[1:4]", "streaming": True, "processes": 2},
    "shares of files": {"id": "me/folder", "streaming": True, "processes": 2},
    "shares of tars": {"id": "me/tars", "streaming": True, "processes": 2},
    "shares, one damaged": {"id": "me/half", "streaming": True, "processes": 2},
    "no config": {"id": "me/configs"},
    "wrong config": {"id": "me/configs", "config": "huge"},
    "config": {"id": "me/configs", "config": "large"},
    "etc": {"id": "me/etc"},
    "up": {"id": "me/up"},
    "url": {"id": "me/url"},
    "yaml": {"id": "me/yaml"},
    "text": {"id": "me/text"},
    "html": {"id": "me/html"},
    "paths": {"id": "me/paths"},
    "empty": {"id": "me/empty"},
    "column": {"id": "me/flowers", "image_column": "img"},
    "split": {"id": "me/flowers", "split": "validation"},
    "revision": {"id": "me/flowers", "revision": "v9"},
    "commit": {"id": "me/flowers", "commit": True},
    "no commit": {"id": "me/flowers", "revision": "v9", "commit": True},
    **{id: {"id": id} for id in ERRORS},
    **{f"{id} commit": {"id": id, "commit": True} for id in ERRORS},
}

WITHOUT = {
    "unreachable": {"id": "me/flowers"},
    "unreachable commit": {"id": "me/flowers", "commit": True},
    "offline": {"id": "me/flowers", "caption_column": "text", "offline": True},
    "offline commit": {"id": "me/flowers", "commit": True, "offline": True},
    "offline pinned": {"id": "me/flowers", "revision": COMMIT, "offline": True},
    "offline never seen": {"id": "me/never", "offline": True},
    "offline in part": {"id": "me/counted", "offline": True},
}


def ask(url: str, home: Path, questions: dict[str, dict]) -> dict[str, dict]:
    env = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    env |= {"HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_planted", "no_proxy": "*"}
    result = subprocess.run(
        [sys.executable, "-m", "tests.data.ask_hub"],
        input=json.dumps([{**BASE, **question} for question in questions.values()]),
        cwd=Path(__file__).parents[2],
        env=env,
        text=True,
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""  # the libraries say nothing of their own accord
    assert "hf_planted" not in result.stdout
    return dict(zip(questions, json.loads(result.stdout), strict=True))


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    home = tmp_path_factory.mktemp("hf")
    with serve(REPOSITORIES) as url:
        online = ask(url, home, ONLINE)
    without = ask(url, home, WITHOUT)  # the hub is gone now
    return {**online, **without, "files": {path.name for path in home.rglob("*.parquet")}}


def fault(answers, name: str) -> str:
    answer = answers[name]
    assert "text" in answer, answer
    assert answer["text"].isprintable()
    return f"{answer['exit']} {answer['text']}"


def test_parquet_is_downloaded_and_read(answers):
    answer = answers["plain"]
    assert answer["levels"] == [0, 1, 2, 3, 4]
    assert answer["items"][1] == ["train/1 1.png", "flower 1", 1]
    assert answer["classes"] == ["rose", "tulip"]
    assert (answer["count"], answer["counted"]) == (None, 5)
    assert answer["bars"] == [["Downloading me/flowers", 2, 2]]


def test_only_the_files_of_the_split_are_downloaded(answers):
    assert "train-00001-of-00002.parquet" in answers["files"]
    assert "test-00000-of-00001.parquet" not in answers["files"]


def test_splits_and_slices_of_a_stream(answers):
    assert answers["streamed"]["levels"] == [50, 51, 1, 2]
    assert answers["streamed"]["bars"] == []
    assert [name for name, *_ in answers["streamed"]["items"]][2] == "train/1 1.png"


def test_whole_splits_of_a_stream_are_read_file_by_file(answers):
    assert answers["streamed whole"]["levels"] == [50, 51, 0, 1, 2, 3, 4]
    names = [name.split()[0] for name, *_ in answers["streamed whole"]["items"]]
    assert names == ["test/0:0", "test/0:1", "train/0:0", "train/0:1", "train/0:2", "train/1:0", "train/1:1"]


@pytest.mark.parametrize(("name", "reading"), [("two shares", 2), ("four shares", 3)])
def test_shares_of_a_stream_are_together_all_of_it_in_its_order(answers, name, reading):
    shares = answers[name]["shares"]
    assert all(shares[:reading]) and not any(shares[reading:])  # there are three files
    rows = sorted(row for share in shares for row in share)
    assert [level for *_, level in rows] == answers["streamed whole"]["levels"]
    assert [text for _, _, text, _ in rows] == [text for text, *_ in answers["streamed whole"]["items"]]


def test_a_process_reads_its_own_files_of_a_stream_and_no_other(answers):
    first, second = answers["two shares"]["shares"]
    assert {shard for shard, *_ in first} == {0, 2} and {shard for shard, *_ in second} == {1}
    assert [[level for *_, level in share] for share in answers["shares of tars"]["shares"]] == [[3, 4], [5]]
    first, second = answers["shares, one damaged"]["shares"]
    assert first.startswith("data/train-00002-of-00003.parquet of data set me/half is not a parquet file")
    assert [level for *_, level in second] == [3, 4]


def test_some_rows_of_a_stream_are_read_by_one_process_and_named_files_by_all(answers):
    expected = {"few": [[0, 1, 2, 3], []], "a slice": [[1, 2, 3], []], "files": [[1], [2]]}
    for name, levels in expected.items():
        shares = answers[f"shares of {name}"]["shares"]
        assert [[level for *_, level in share] for share in shares] == levels


def test_percents_need_a_count(answers):
    assert answers["percent"]["levels"] == [2, 3, 4]
    assert "needs the number of rows, which this stream does not tell" in fault(answers, "percent streamed")
    assert answers["counted"]["levels"] == [2, 3]
    assert answers["counted"]["count"] == 2


def test_a_file_that_is_damaged_on_disk_is_fetched_again(answers):
    assert answers["damaged on disk"]["levels"] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["folder", "folder streamed"])
def test_image_files_on_the_hub(answers, name):
    assert answers[name]["levels"] == [1, 2]
    assert answers[name]["items"] == [["train/0 1.png", None, 0], ["train/1 2.png", None, 1]]
    assert answers[name]["classes"] == ["rose", "tulip"]


def test_tar_archives_and_no_pickle(answers):
    assert answers["tar"]["levels"] == [3, 4]
    assert [caption for _, caption, _ in answers["tar"]["items"]] == ["three", "four"]
    assert answers["pickle"]["levels"] == [3]
    assert not Path("/tmp/never").exists()


def test_scripts_are_not_run(answers):
    assert fault(answers, "script").startswith("3 data set me/script is a script (script.py), and scripts are not run")


def test_configurations(answers):
    expected = "3 data set me/configs has the configurations small, large: set data.config to one of them"
    assert fault(answers, "no config") == fault(answers, "wrong config") == expected
    assert answers["config"]["levels"] == [0, 1, 2]


@pytest.mark.parametrize("name", ["etc", "up", "url"])
def test_a_card_that_names_files_elsewhere_is_refused(answers, name):
    assert fault(answers, name).startswith(f"6 the card of data set me/{name} names a file outside itself: ")


def test_a_second_card_is_refused(answers):
    assert fault(answers, "yaml").startswith("6 data set me/yaml has a .huggingface.yaml")


def test_what_holds_no_pictures(answers):
    expected = "3 data set me/text is made of csv files: pictures come from arrow, imagefolder, parquet, webdataset"
    assert fault(answers, "text") == expected
    assert fault(answers, "empty").startswith("3 data set me/empty cannot be read (EmptyDatasetError")


def test_a_parquet_file_that_is_a_web_page_is_named(answers):
    expected = (
        "3 data/train.parquet of data set me/html is not a parquet file (it starts with b'<!DOCTYPE ht') on the hub"
    )
    assert fault(answers, "html").startswith(expected)


def test_rows_that_name_files_of_this_machine_open_nothing(answers):
    assert answers["paths"]["levels"] == ["is only named in its row (/etc/passwd), not held there"]


def test_columns_and_splits_that_are_not_there(answers):
    expected = "3 data.image_column 'img' is not there: the data set has image, label, text"
    assert fault(answers, "column") == expected
    assert fault(answers, "split") == "3 data.split 'validation' is not there: the data set has train, test"


def test_commits(answers):
    assert answers["commit"] == {"commit": COMMIT}
    expected = "4 data set me/flowers has no revision 'v9': correct data.revision"
    assert fault(answers, "no commit") == fault(answers, "revision") == expected


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        ("gone/set", "4 the hub has no data set gone/set, or it is private: correct data.id, or log in"),
        ("private/set", "4 the hub has no data set private/set, or it is private"),
        ("gated/set", "4 data set gated/set is gated: ask for access on http://127.0.0.1:"),
        ("disabled/set", "4 data set disabled/set is disabled on the hub"),
        ("forbidden/set", "4 the hub refuses data set forbidden/set (403)"),
        ("busy/set", "5 the hub limits the rate of requests (429) for data set busy/set: try again in 7 seconds"),
        ("down/set", "5 the hub is out of order (503) for data set down/set: try again later"),
        ("broken/set", "5 the hub is out of order (500) for data set broken/set"),
        ("odd/set", "3 the hub answers 418 for data set odd/set"),
    ],
)
@pytest.mark.parametrize("what", ["", " commit"])
def test_what_the_hub_refuses(answers, id, expected, what):
    assert fault(answers, id + what).startswith(expected)


@pytest.mark.parametrize("name", ["unreachable", "unreachable commit"])
def test_without_a_network_there_are_other_ways(answers, name):
    message = fault(answers, name)
    assert message.startswith("5 the hub cannot be reached for data set me/flowers (no network?): ")
    for way in ("--smoke", "data.type=folder", "recipe run quickstart"):
        assert way in message


@pytest.mark.parametrize("name", ["offline", "offline pinned"])
def test_offline_reads_what_was_downloaded_before(answers, name):
    assert answers[name]["levels"] == [0, 1, 2, 3, 4]
    assert answers["offline"]["fingerprint"] == answers["plain"]["fingerprint"]
    assert answers["offline commit"] == {"commit": COMMIT}


@pytest.mark.parametrize("name", ["offline never seen", "offline in part"])
def test_offline_says_what_is_missing(answers, name):
    assert fault(answers, name).startswith("5 data set me/")
