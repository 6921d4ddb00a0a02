"""A model's files on this machine; those of the hub are in tests/hub."""

import json
from pathlib import Path

import pytest

from runner.errors import EnvironmentFault, ModelError, Refused
from runner.models.files import Folder, Single, missing, open_files
from tests.data.conftest import Remembers


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "model"
    (root / "unet").mkdir(parents=True)
    (root / "model_index.json").write_text('{"a": 1}')
    (root / "unet" / "config.json").write_text("{}")
    return root


def opened(id, base=Path("/nowhere"), **options):
    return open_files(str(id), base=base, key="model.id", **options)


def test_a_folder_lists_its_files(folder):
    files = opened("model", base=folder.parent)
    assert isinstance(files, Folder)
    assert files.sizes == {"model_index.json": 8, "unet/config.json": 2}
    assert (files.revision, files.origin) == (None, str(folder))
    assert files.json("model_index.json") == {"a": 1}
    assert files.fetch(["unet/config.json"], Remembers()) == folder
    assert missing(files, list(files.sizes)) == {}


def test_a_subfolder_is_the_root(folder):
    files = opened(folder, subfolder="unet")
    assert files.sizes == {"config.json": 2}


def test_a_single_file(folder):
    path = folder / "model.safetensors"
    path.write_bytes(b"12345")
    files = opened(path)
    assert isinstance(files, Single)
    assert files.sizes == {"model.safetensors": 5}
    assert files.fetch(["model.safetensors"], Remembers()) == folder
    with pytest.raises(ModelError, match=r"is a single file: there is no config.json beside it"):
        files.json("config.json")


@pytest.mark.parametrize("name", ["unet/config.json", "unet"])
def test_a_link_that_leaves_the_folder_is_not_followed(folder, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "config.json").write_text('{"secret": 1}')
    link = folder / name
    if link.is_dir():
        (link / "config.json").unlink()
        link.rmdir()
        link.symlink_to(outside)
    else:
        link.unlink()
        link.symlink_to(outside / "config.json")
    files = opened(folder)
    assert "unet/config.json" not in files.sizes
    with pytest.raises(Refused, match=r"unet/config.json is a link that leaves the model's folder") as caught:
        files.json("unet/config.json")
    assert caught.value.exit_code == 6
    with pytest.raises(Refused):
        files.fetch(["unet/config.json"], Remembers())


def test_links_inside_the_folder_and_to_the_cache_s_blobs_are_followed(tmp_path):
    storage = tmp_path / "models--me--model"
    snapshot = storage / "snapshots" / ("a" * 40)
    (storage / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (storage / "blobs" / "123").write_text("{}")
    (snapshot / "model_index.json").symlink_to(storage / "blobs" / "123")
    (snapshot / "again.json").symlink_to(snapshot / "model_index.json")
    assert opened(snapshot).sizes == {"again.json": 2, "model_index.json": 2}


def test_links_in_a_circle_are_no_files(folder):
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    (folder / "up").symlink_to(folder)
    files = opened(folder)
    assert not {"a", "b"} & set(files.sizes)
    assert "unet/config.json" in files.sizes


@pytest.mark.parametrize(
    ("id", "options", "error", "text"),
    [
        ("./nothing", {}, ModelError, "/nowhere/nothing is not there: correct model.id"),
        ("a b", {}, ModelError, "'a b' is neither there as a path nor an id of the hub (owner/name): correct model.id"),
        ("https://x/y", {}, Refused, "'https://x/y' is not allowed: an id is 'owner/name'"),
        (
            "me/x",
            {"subfolder": "../up"},
            Refused,
            "'../up' is not allowed: model.subfolder is a folder inside the model",
        ),
        ("me/x", {"subfolder": "/etc"}, Refused, "'/etc' is not allowed"),
        (500 * "x" + "/y", {}, ModelError, "is neither there as a path nor an id of the hub (owner/name): correct"),
        (300 * "x" + ".safetensors", {}, ModelError, "is neither there as a path nor an id of the hub (owner/name)"),
        ("./" + 300 * "x", {}, ModelError, "x is not there: correct model.id"),
        ("me/x", {"subfolder": 300 * "x", "offline": True}, EnvironmentFault, "me/x is not on this machine"),
        ("me/x", {"revision": 300 * "x", "offline": True}, EnvironmentFault, "is not on this machine at revision"),
    ],
)
def test_an_id_that_means_nothing_is_said(id, options, error, text):
    with pytest.raises(error) as caught:
        opened(id, **options)
    assert text in str(caught.value)


def test_a_subfolder_that_is_not_there(folder):
    with pytest.raises(ModelError, match=r"model/vae is not there: correct model.id"):
        opened(folder, subfolder="vae")


@pytest.mark.parametrize(
    ("text", "place"),
    [("", " from line 1, letter 1 on"), ('{\n "a":', r" from line 2, letter \d+ on"), ("[" * 100_000, "")],
)
def test_what_is_no_json_is_said(folder, text, place):
    (folder / "model_index.json").write_text(text)
    with pytest.raises(ModelError, match=rf"model_index.json is no readable JSON{place}: get the file again$"):
        opened(folder).json("model_index.json")


def test_a_huge_json_is_not_read(folder):
    with (folder / "model_index.json").open("wb") as file:
        file.truncate(2**24 + 1)
    with pytest.raises(ModelError, match="is over 16,777,216 bytes: too large to describe a model"):
        opened(folder).json("model_index.json")


def test_names_are_shown_without_control_characters(folder):
    with pytest.raises(ModelError) as caught:
        opened(folder).json("a\x1b[31m\n.json")
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert json.dumps("\\x1b")[1:-1] in json.dumps(str(caught.value))
