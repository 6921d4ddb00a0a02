import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from runner.captioning.captioned import Captioned
from runner.data.folder import Folder
from runner.data.source import Item, Listed, Place, open_source
from runner.errors import DataError, EnvironmentFault, Refused
from runner.hub.ids import as_path, is_hub_id


@pytest.mark.parametrize("id", ["./x", "../x", "/x", "~/x", ".", "..", "~", "./gone/a/b"])
def test_paths_need_not_exist(tmp_path, id):
    path = as_path(id, tmp_path)
    assert path is not None
    assert path.is_absolute()


def test_relative_paths_are_relative_to_the_given_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert as_path("./x", tmp_path / "recipes") == tmp_path / "recipes/x"
    assert as_path("./x", Path("recipes")) == tmp_path / "recipes/x"
    assert as_path("~/x", tmp_path) == Path.home() / "x"
    assert as_path("/a/../b", tmp_path) == Path("/a/../b")


def test_a_bare_name_is_a_path_only_where_it_exists(tmp_path):
    (tmp_path / "owner/name").mkdir(parents=True)
    (tmp_path / "x.parquet").touch()
    assert as_path("owner/name", tmp_path) == tmp_path / "owner/name"
    assert as_path("x.parquet", tmp_path) == tmp_path / "x.parquet"
    assert as_path("owner/other", tmp_path) is None
    assert as_path("", tmp_path) is None


@pytest.mark.parametrize(
    "id",
    [
        "http://127.0.0.1:9/x",
        "https://huggingface.co/owner/name",
        "file:///etc/passwd",
        "hf://datasets/owner/name",
        "git+ssh://host/x",
        "data:image/png;base64,AAAA",
        "s3://bucket/x",
        "a/../../etc",
        "owner/..",
        "a\\..\\b",
        "./x\0y",
    ],
)
def test_urls_and_climbing_ids_are_refused(tmp_path, id):
    with pytest.raises(Refused) as caught:
        as_path(id, tmp_path)
    assert str(caught.value).isprintable()


def test_no_home_folder(tmp_path, monkeypatch):
    def homeless(_):
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(EnvironmentFault, match="no home folder"):
        as_path("~/x", tmp_path)


@pytest.mark.parametrize("id", ["nelorth/oxford-flowers", "squad", "a.b/c_d-e", "o/n.v2"])
def test_hub_ids(id):
    assert is_hub_id(id)


@pytest.mark.parametrize("id", ["", "a/b/c", "a b/c", "-a/b", "a/.b", "a--b/c", "a/b.", "a/" + 100 * "x", "ä/b", "b\n"])
def test_no_hub_ids(id):
    assert not is_hub_id(id)


def test_one_lookup_opens_every_type(tmp_path, picture, section):
    picture(tmp_path / "a.png")
    source = open_source(section(id=str(tmp_path)), offline=True)
    assert isinstance(source, Folder)
    assert source.count == 1
    drawn = open_source(
        {"type": "builtin", "num_images": 3, "kinds": None, "label_by": "kind", "resolution": 16}, offline=True
    )
    assert drawn.count == 3
    with pytest.raises(DataError):
        open_source(section(type="hub", id=str(tmp_path / "gone.parquet")), offline=True)


def test_a_folder_id_that_was_not_found_is_not_looked_up_elsewhere(tmp_path, picture, section, monkeypatch):
    picture(tmp_path / "photos/a.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="the folder photos is not there"):
        open_source(section(id="photos"), offline=True)


def test_a_listed_source_can_be_read_again_and_again():
    class Two(Listed):
        items = (Item("a", None, None), Item("b", None, None))

        def picture(self, index):
            return Image.new("L", (1, 1), index)

    source = Two()
    for _ in range(2):
        assert [(item.name, load().getpixel((0, 0))) for item, load in source] == [("a", 0), ("b", 1)]
    assert source.count == 2


def test_listing_a_folder_imports_neither_torch_nor_datasets():
    code = "import sys, runner.data.source, runner.data.folder; print(sorted({'torch', 'datasets'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Fetched(Listed):
    """Five pictures that are fetched as they are read."""

    classes, fingerprint, streamed = (), "fetched", True
    items = tuple(Item(f"{i}.png", None, None) for i in range(5))

    def picture(self, index):
        return Image.new("RGB", (8, 8), (index, 0, 0))


@pytest.mark.parametrize("wrap", [lambda source: source, lambda source: Captioned(source, {Place(0, 1): "a rose"}, "")])
@pytest.mark.parametrize("limit", [None, 3])
def test_what_is_fetched_as_it_is_read_is_read_by_one_process(wrap, limit):
    shares = [list(wrap(Fetched()).part(rank, 3, limit)) for rank in range(3)]
    assert [entry.item.name for _, entry in shares[0]] == [f"{i}.png" for i in range(limit or 5)]
    assert shares[1:] == [[], []]
