"""Pictures that several processes decode are those that one decodes, in the same order."""

import json
import os
import shutil
import signal
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from runner.data import decoded
from runner.data.cache import prepare
from runner.data.folder import Folder
from runner.data.hub import open_hub
from runner.data.parquet import ParquetRows
from runner.data.source import Entry, Item, Place, Source
from runner.errors import RecipeError
from runner.processes import started
from runner.processes.crew import join
from runner.processes.voice import one_voice
from runner.processes.world import World
from runner.progress import silent
from runner.signals import Stop
from tests.data.test_parquet import png
from tests.several.crew import ends

KEYS = {"resolution": 16, "on_error": "skip", "max_images": None}
COUNT = 23
KINDS = [("folder", None, 2), ("folder", 12, 3), ("pieces", None, 3), ("table", None, 2)]


class Pieces(Source):
    """Five pieces of one to five pictures each, of which a process reads every `count`-th piece."""

    classes, fingerprint, count = [], "pieces", None

    def _read(self, pieces):
        for piece in pieces:
            for row in range(piece + 1):
                image = Image.new("RGB", (20, 20), (40 * piece, 40 * row, 0))
                yield Place(piece, row), Entry(Item(f"{piece}:{row}", None, None), lambda image=image: image)

    def part(self, rank, count, limit):
        assert limit is None
        return self._read(range(rank, 5, count))

    def __iter__(self):
        return (entry for _, entry in self._read(range(5)))


def lay(folder):
    """Pictures with captions and classes, every fifth of them broken."""
    for i in range(COUNT):
        path = folder / "mine" / ("rose" if i % 2 else "tulip") / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + i, 20), (10 * i, 99, 200)).save(path)
        path.with_suffix(".txt").write_text(f"flower {i}")
        if i % 5 == 0:
            path.write_bytes(b"no picture")


def table(path):
    """Rows of which every fifth is broken, with a column of classes that have no numbers."""
    if not path.exists():
        pictures = [b"no picture" if i % 5 == 0 else png(10 * i) for i in range(COUNT)]
        kinds = ["rose" if i % 2 else "tulip" for i in range(COUNT)]
        pq.write_table(pa.table({"image": pictures, "kind": kinds}), path, row_group_size=4)
    asked = {"image_column": None, "caption_column": None, "label_column": "kind"}
    place = {"id": str(path), "config": None, "split": "train", "revision": None}
    return open_hub(**place, **asked, streaming=False, offline=True)


def source(folder, kind):
    if kind == "pieces":
        return Pieces()
    if kind == "table":
        return table(folder / "flowers.parquet")
    if not (folder / "mine").exists():
        lay(folder)
    return Folder(id=str(folder / "mine"), caption_column="text", metadata_file=None)


def looked(world, folder, kind, limit, cache):
    """Everything that is known of the prepared pictures."""
    given = {**KEYS, "max_images": limit}
    pictures = prepare(source(folder, kind), section=given, cache_dir=folder / cache, progress=silent(), world=world)
    rows = [
        (pictures.name(i), pictures.caption(i), pictures[i].tolist(), pictures.original_sizes[i].tolist())
        for i in range(len(pictures))
    ]
    labels = pictures.labels.tolist() if pictures.classes else None
    return json.dumps([rows, labels, pictures.classes, pictures.skipped, pictures.found, pictures.fingerprint])


def work(folder, kind, limit, *alters):
    """In each process: what it sees, and which pictures it has decoded."""
    world, decodes, fitted = join(started(), {"device": "cpu", "strategy": "ddp"}), [], decoded._fitted
    columns, rows = [], ParquetRows.rows

    def noted(placed, **options):
        decodes.append(placed[1].item.name)
        return fitted(placed, **options)

    def read(self, names, *bounds):
        columns.append(names)
        return rows(self, names, *bounds)

    decoded._fitted, ParquetRows.rows = noted, read
    for alter in alters:
        alter(world.rank)
    (folder / f"seen-{world.rank}").write_text(looked(world, folder, kind, limit, "many"))
    (folder / f"decodes-{world.rank}").write_text(json.dumps(decodes))
    (folder / f"columns-{world.rank}").write_text(json.dumps(columns))
    return 0


@pytest.mark.parametrize("together", [2, 256])
@pytest.mark.parametrize(("kind", "limit", "count"), KINDS)
def test_the_pictures_are_those_of_one_process(here, monkeypatch, kind, limit, count, together):
    monkeypatch.setattr(decoded, "_TOGETHER", together * 3 * 16**2)
    alone = looked(World(), here, kind, limit, "alone")
    codes, said = ends(here, count, here, kind, limit, work=work)
    assert codes == [0] * count, said
    assert [(here / f"seen-{rank}").read_text() for rank in range(count)] == [alone] * count
    shares = [json.loads((here / f"decodes-{rank}").read_text()) for rank in range(count)]
    rows, _, _, skipped, found, _ = json.loads(alone)
    assert len(skipped) == (0 if kind == "pieces" else 5 if limit is None else 3)
    assert sorted(chain(*shares)) == sorted(name for name, *_ in rows + skipped)
    assert found == len(rows) + len(skipped) == (15 if kind == "pieces" else limit or COUNT)
    assert all(shares)
    assert not list((here / "many" / "pictures").glob(".tmp*"))


def test_the_classes_of_a_table_are_read_by_one_process(here):
    table(here / "flowers.parquet")
    codes, said = ends(here, 2, here, "table", None, work=work)
    assert codes == [0, 0], said
    columns = [json.loads((here / f"columns-{rank}").read_text()) for rank in range(2)]
    assert columns == [[["kind"], ["image", "kind"]], [["image", "kind"]]]


def test_what_is_kept_already_is_decoded_by_none(here):
    looked(World(), here, "folder", None, "many")
    codes, said = ends(here, 2, here, "folder", None, work=work)
    assert codes == [0, 0], said
    assert [(here / f"decodes-{rank}").read_text() for rank in range(2)] == ["[]", "[]"]


def stopped(folder, hit):
    """In each process: its exit code, where a signal comes to one of them while it decodes."""
    world, fitted, done = join(started(), {"device": "cpu", "strategy": "ddp"}), decoded._fitted, []

    def noted(placed, **options):
        done.append(placed)
        if world.rank == hit and len(done) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return fitted(placed, **options)

    decoded._fitted, decoded._TOGETHER = noted, 3 * 16**2
    try:
        with Stop("run again", quiet=not world.main) as world.stop, one_voice(world):
            looked(world, folder, "folder", None, "many")
    except RecipeError as error:
        print(type(error).__name__, error)
        return error.exit_code
    return 0


@pytest.mark.parametrize("hit", [0, 1])
def test_a_signal_to_one_process_stops_all_in_order(here, hit):
    lay(here)
    codes, said = ends(here, 3, here, hit, work=stopped)
    assert codes == [143] * 3, said
    assert "Interrupted stopped: run again" in said[0]
    assert ["gone without a word" in text for text in said] == [False] * 3
    assert not list((here / "many" / "pictures").iterdir())
    codes, said = ends(here, 2, here, "folder", None, work=work)
    assert codes == [0, 0], said


def test_a_process_that_sees_other_data_says_so(here):
    lay(here)

    def other(rank):
        if rank == 1:
            shutil.copytree(here / "mine", here / "theirs")
            (here / "theirs" / "rose" / "01.png").unlink()
            before = Folder.__init__

            def elsewhere(self, **options):
                before(self, **{**options, "id": str(here / "theirs")})

            Folder.__init__ = elsewhere

    codes, said = ends(here, 2, here, "folder", None, other, work=work)
    assert codes[1] != 0
    assert "process 1 sees other data than the first (other files, sizes or times of change, or" in said[1]
