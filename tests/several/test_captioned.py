"""Captions that several processes write are those that one writes, kept by one of them."""

import json
import signal

import pytest

from runner.captioning import caption, inspect
from runner.captioning.captioner import Captioner
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
        with Stop("run again", world.largest, quiet=not world.main) as stop, one_voice(world):
            found = captions(world, data, model, place, limit, stop)
    except RecipeError as error:
        return error.exit_code
    (place / f"seen-{world.rank}").write_text(json.dumps(found))
    (place / f"shown-{world.rank}").write_text(json.dumps(sum(shown)))
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
