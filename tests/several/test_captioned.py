"""Captions that several processes write are those that one writes, kept by one of them."""

import json
import signal

import pytest

from runner.captioning import caption, inspect
from runner.captioning.captioner import Captioner
from runner.data.source import Place, Source
from runner.errors import RecipeError
from runner.processes import started
from runner.processes.crew import join
from runner.processes.voice import one_voice
from runner.processes.world import World
from runner.progress import silent
from runner.signals import Stop
from tests.captioning.conftest import around, blip, files_of, noise, source_of  # noqa: F401 - the fixture
from tests.several.crew import ends

SECTION = {"caption": {"prompt": None, "overwrite": False, "batch_size": 2, "max_new_tokens": 8}, "on_error": "skip"}
NAMES = [f"{i:02d}.png" for i in range(15)]


@pytest.fixture
def data(here):
    """Pictures: two that are alike, one with a caption, one that is broken."""
    folder = here / "data"
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        noise(0 if seed == 7 else seed).save(folder / name)
    (folder / "03.txt").write_text("my own words")
    (folder / "05.png").write_bytes(b"no picture")
    return folder


class InPieces(Source):
    """A folder as a stream of pieces of four pictures, each read by one process; `read` names what was."""

    streamed, count, classes = True, len(NAMES), ()

    def __init__(self, data):
        self._whole, self.read = source_of(data), []
        self.fingerprint = self._whole.fingerprint

    def part(self, rank, count, limit):
        return self._read(rank, count) if limit is None else super().part(rank, count, limit)

    def _read(self, rank, count):
        for number, entry in enumerate(self._whole):
            if number // 4 % count == rank:
                self.read.append(entry.item.name)
                yield Place(number // 4, number % 4), entry

    def __iter__(self):
        return (entry for _, entry in self._read(0, 1))


def captions(world, data, model, place, limit=None, stop=None):
    """Name and caption of every picture."""
    (place / "run").mkdir(parents=True, exist_ok=True)
    where = around(place, place / "run", silent(), stop or Stop("run again"), world)
    section = {**SECTION, "max_images": limit}
    found = caption(source_of(data), inspect(files_of(model), allow_pickle=False), section, where)
    return [(entry.item.name, entry.item.caption) for entry in found]


def work(data, model, place, limit, stops_after=None):
    """In each process: what it learns of the captions, and how many pictures its model was shown."""
    world, shown, plain = join(started(), {"device": "cpu", "strategy": "ddp"}), [], Captioner.__call__

    def noted(captioner, images):
        shown.append(len(images))
        if len(shown) == stops_after:
            signal.raise_signal(signal.SIGTERM)
        return plain(captioner, images)

    Captioner.__call__ = noted
    try:
        with Stop("run again", quiet=not world.main) as stop, one_voice(world):
            found = captions(world, data, model, place, limit, stop)
    except RecipeError as error:
        return error.exit_code
    (place / f"seen-{world.rank}").write_text(json.dumps(found))
    (place / f"shown-{world.rank}").write_text(json.dumps(sum(shown)))
    return 0


def in_pieces(world, data, model, place, limit=None):
    """Place, name and caption of this process's share of what was captioned, and what was read for it."""
    (place / "run").mkdir(parents=True, exist_ok=True)
    source, facts = InPieces(data), inspect(files_of(model), allow_pickle=False)
    section, where = {**SECTION, "max_images": limit}, around(place, place / "run", silent(), Stop("run again"), world)
    share = caption(source, facts, section, where).part(world.rank, world.count, limit)
    return [[*place, entry.item.name, entry.item.caption] for place, entry in share], source.read


def pieces_work(data, model, place):
    """In each process: its share."""
    world = join(started(), {"device": "cpu", "strategy": "ddp"})
    (place / f"pieces-{world.rank}").write_text(json.dumps(in_pieces(world, data, model, place)))
    return 0


def kept(place):
    """How many captions are on the disk."""
    (path,) = (place / "cache" / "captions").glob("*.jsonl")
    return len(path.read_text().splitlines())


@pytest.mark.parametrize(("count", "limit"), [(2, None), (3, 8)])
def test_the_captions_are_those_of_one_process(here, data, blip, count, limit):  # noqa: F811
    alone = captions(World(), data, blip, here / "alone", limit)
    assert len({text for _, text in alone}) > 4
    codes, said = ends(here, count, data, blip, here / "many", limit, work=work)
    assert codes == [0] * count, said
    seen = [json.loads((here / "many" / f"seen-{rank}").read_text()) for rank in range(count)]
    assert seen == [[list(row) for row in alone]] * count
    shown = [int((here / "many" / f"shown-{rank}").read_text()) for rank in range(count)]
    assert all(shown)
    assert kept(here / "many") == kept(here / "alone")
    lines = [(here / place / "run" / "captions" / "metadata.jsonl").read_text() for place in ("alone", "many")]
    assert lines[0] == lines[1]
    codes, said = ends(here, count, data, blip, here / "many", limit, work=work)
    assert codes == [0] * count, said
    assert [(here / "many" / f"shown-{rank}").read_text() for rank in range(count)] == ["0"] * count


def test_each_piece_of_a_stream_is_captioned_and_read_by_one(here, data, blip):  # noqa: F811
    alone, read = in_pieces(World(), data, blip, here / "alone")
    assert read == NAMES * 2  # once to caption, once for what comes after
    (here / "many").mkdir()
    codes, said = ends(here, 2, data, blip, here / "many", work=pieces_work)
    assert codes == [0, 0], said
    shares = [json.loads((here / "many" / f"pieces-{rank}").read_text()) for rank in range(2)]
    assert sorted(row for share, _ in shares for row in share) == alone
    assert [read for _, read in shares] == [[name for *_, name, _ in share] * 2 for share, _ in shares]
    lines = [(here / place / "run" / "captions" / "metadata.jsonl").read_text() for place in ("alone", "many")]
    assert lines[0] == lines[1] and lines[0].count("\n") == len(NAMES)


def test_no_more_of_a_stream_is_read_than_is_captioned(here, data, blip):  # noqa: F811
    rows, read = in_pieces(World(), data, blip, here, limit=6)
    assert read == NAMES[:6] * 2
    assert [(shard, row) for shard, row, *_ in rows] == [(0, i) for i in range(6)]


def test_what_was_streamed_may_be_downloaded_later(here, data, blip):  # noqa: F811
    streamed, _ = in_pieces(World(), data, blip, here)
    downloaded = captions(World(), data, blip, here)
    assert [tuple(row[2:]) for row in streamed] == downloaded
    assert in_pieces(World(), data, blip, here)[0] == streamed


def test_a_signal_keeps_what_was_written_and_the_work_goes_on(here, data, blip):  # noqa: F811
    codes, said = ends(here, 2, data, blip, here / "many", None, 2, work=work)
    assert codes == [143, 143], said
    before = kept(here / "many")
    assert 4 <= before <= 8
    codes, said = ends(here, 2, data, blip, here / "many", None, work=work)
    assert codes == [0, 0], said
    assert sum(int((here / "many" / f"shown-{rank}").read_text()) for rank in range(2)) <= 13 - before
    alone = captions(World(), data, blip, here / "alone")
    assert json.loads((here / "many" / "seen-1").read_text()) == [list(row) for row in alone]
