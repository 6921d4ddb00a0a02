"""What a run shows: plain lines, JSON events, and bars on a real (pseudo) terminal."""

import io
import json
import os
import re
import subprocess
import sys
import threading

import pytest

from runner import tally
from runner.progress import Smoothed, create, memory
from runner.tally import Tally, clock, gibibytes


class Clock:
    """A clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(tally.time, "monotonic", lambda: self.now)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_plain_lines_come_every_few_seconds_and_at_the_end(ticking: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    show = create(quiet=False, plain=True)
    show.stage("Train")
    with show.bar("", 1000, unit="step") as bar:
        for _ in range(1000):
            ticking.now += 0.1
            bar.advance(loss="0.0312", lr="1.0e-04", rate="160 images/s", memory="1.2 GiB")
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "Train"
    assert re.fullmatch(r"  step +5\d/1,000  loss 0.0312  lr 1.0e-04  160 images/s  1.2 GiB  0:01:3\d left", lines[1])
    assert lines[-1] == "  1,000 steps in 0:01:40  loss 0.0312  lr 1.0e-04  160 images/s  1.2 GiB"
    assert len(lines) == 1 + 19 + 1  # one in five seconds, none twice at the end


def test_bytes_are_counted_in_sizes(ticking: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    show = create(quiet=False, plain=True)
    for done, total in ((4, 4), (2, 4)):
        with show.bar("Downloading x", total * 2**30, unit="byte", start=2**30) as bar:
            for _ in range(done - 1):
                ticking.now += 6
                bar.advance(2**30)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("  Downloading x: 2.0 GiB of 4.0 GiB")
    assert lines[2] == "  Downloading x: 4.0 GiB in 0:00:18"
    assert lines[-1] == "  Downloading x: 2.0 GiB of 4.0 GiB in 0:00:06"


def test_a_long_run_prints_seldom(ticking: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with create(quiet=False, plain=True).bar("", 86_400, unit="step") as bar:
        for _ in range(86_400):
            ticking.now += 1
            bar.advance()
    assert 1400 < len(capsys.readouterr().err.splitlines()) < 1600  # once a minute in a day


def test_time_left_counts_from_the_first_piece_on_and_from_where_a_run_went_on(ticking: Clock) -> None:
    bar = Tally("", 110, "step", 10)
    assert bar.left() is None
    ticking.now += 60  # warm-up
    bar.advance()
    assert bar.left() is None and bar.time() == "0:01:00"
    ticking.now += 2
    bar.advance()
    assert bar.left() == pytest.approx(98 * 2)
    assert bar.counted() == "step  12/110"


def test_a_nested_bar_leaves_no_line_of_its_own(ticking: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    show = create(quiet=False, plain=True)
    with show.bar("", 2, unit="step") as outer:
        outer.advance()
        with show.bar("Draw", 50, unit="step") as inner:
            for _ in range(50):
                ticking.now += 0.2
                inner.advance()
        outer.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("  Draw: step 25/50  0:00:0")
    assert lines[1:] == ["  2 steps in 0:00:10"]


def test_what_is_cut_off_says_so(ticking: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    show = create(quiet=False, plain=True)
    with pytest.raises(KeyboardInterrupt), show.bar("Read", 3000, unit="picture") as bar:
        bar.advance(1234)
        raise KeyboardInterrupt
    with show.bar("Find", None, unit="picture") as bar:
        bar.advance()
    assert capsys.readouterr().err.splitlines() == [
        "  Read: 1,234 of 3,000 pictures in 0:00:00",
        "  Find: 1 picture in 0:00:00",
    ]


def test_quiet_keeps_warnings_and_results(capsys: pytest.CaptureFixture[str]) -> None:
    show = create(quiet=True)
    show.stage("Train")
    show.say("a note")
    with show.bar("", 1, unit="step") as bar:
        bar.advance()
    show.warn("a file is broken")
    show.result("pictures: outputs/x/001")
    assert capsys.readouterr() == ("pictures: outputs/x/001\n", "warning: a file is broken\n")


def test_json_events(ticking: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # put back afterwards
    show = create(quiet=False, as_json=True)
    print("a library's stray print")
    show.stage("Train")
    with show.bar("Train", 2, unit="step") as bar:
        bar.advance(loss="0.5")
        ticking.now += 6
        bar.advance(loss="0.25")
    show.warn("größer \x1b[2J")
    show.result("a\nb")
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events] == ["stage", "counted", "warning", "result"]
    assert events[1] == {
        "event": "counted",
        "title": "Train",
        "unit": "step",
        "done": 2,
        "total": 2,
        "seconds": 6.0,
        "seconds_left": 0.0,
        "facts": {"loss": "0.25"},
    }
    assert (events[2]["text"], events[3]["text"]) == ("größer \\x1b[2J", "a\nb")
    assert err == "a library's stray print\n"


HOSTILE = "[/red] [link=http://x]y[/link] \x1b]0;title\x07 \x1b[2J \u202e :smile:"
ESCAPED = "[/red] [link=http://x]y[/link] \\x1b]0;title\\x07 \\x1b[2J \\u202e :smile:"


def test_hostile_text_is_shown_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    show = create(quiet=False, plain=True)
    show.stage(HOSTILE)
    show.say(HOSTILE)
    show.warn(HOSTILE)
    show.result(HOSTILE)
    with show.bar(HOSTILE, 1, unit="step") as bar:
        bar.advance(loss=HOSTILE)
    out, err = capsys.readouterr()
    assert out == f"{ESCAPED}\n"
    assert err.splitlines() == [
        ESCAPED,
        ESCAPED,
        f"warning: {ESCAPED}",
        f"  {ESCAPED}: 1 step in 0:00:00  loss {ESCAPED}",
    ]


def test_an_ascii_stream_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="strict"))
    create(quiet=False, plain=True).result("größer …")
    assert raw.getvalue() == b"gr\\xf6\\xdfer \\u2026\n"


DEMO = """
import sys, warnings
from runner.progress import create
show = create(quiet="quiet" in sys.argv, as_json="json" in sys.argv)
show.stage("Train")
show.say(HOSTILE)
with show.bar("", 3, unit="step") as bar:
    for i in range(3):
        print("[/red] from a library", file=sys.stderr, end="", flush=True)
        print(file=sys.stderr)
        bar.advance(loss="0.5000", lr="1.0e-04", rate="45.1 images/s", memory="1.2 GiB")
        with show.bar("Draw", 2, unit="step") as inner:
            inner.advance()
            if "pause" in sys.argv:
                import time; time.sleep(0.4)
for i in range(2000):
    show.result(f"line {i}")
sys.exit(0)
""".replace("HOSTILE", repr(HOSTILE))


def _on_terminal(width: int, *words: str, **environment: str) -> tuple[int, str]:
    """Exit code and all bytes of the demo, with stderr on a pseudo terminal of `width` columns."""
    pty, fcntl, termios = pytest.importorskip("pty"), pytest.importorskip("fcntl"), pytest.importorskip("termios")
    import struct

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    with subprocess.Popen(
        [sys.executable, "-c", DEMO, *words],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**clean, "TERM": "xterm-256color", "PYTHONUTF8": "1", **environment},
    ) as process:
        os.close(theirs)
        seen = bytearray()

        def collect() -> None:
            try:
                while part := os.read(ours, 4096):
                    seen.extend(part)
            except OSError:  # Linux says so when the other end closes
                pass

        reader = threading.Thread(target=collect)
        reader.start()
        code = process.wait(60)
        reader.join(10)
    os.close(ours)
    return code, seen.decode(errors="replace")


def test_a_terminal_gets_bars_and_is_left_as_it_was() -> None:
    code, seen = _on_terminal(120, "pause")
    assert code == 0
    assert "\x1b[?25l" in seen and seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")  # the cursor is back
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
    assert ESCAPED in plain and "\x1b]0;" not in seen
    assert "[/red] from a library" in plain
    assert re.search(r"step 1/3  ━+─+  loss 0.5000  lr 1.0e-04  45.1 images/s  1.2 GiB  0:00:0\d", plain)
    assert re.search(r"Draw: step 1/2  ━{20}─{20}", plain)
    assert "  3 steps in 0:00:0" in plain and "Draw: 2 steps" not in plain


@pytest.mark.parametrize("width", [1, 20, 40])
def test_a_narrow_terminal_gets_less_but_one_line(width: int) -> None:
    code, seen = _on_terminal(width, "pause")
    assert code == 0
    if width == 40:
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
        assert re.search(r"step 1/3  ━+─+  0:00:0\d", plain)  # loss and the rest have left


def test_no_color_and_ascii_and_dumb_terminals() -> None:
    code, seen = _on_terminal(120, "pause", NO_COLOR="1", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert code == 0 and re.search(r"step 1/3  #+-+", seen) and not re.search(r"\x1b\[[0-9;]*3[0-9]m", seen)
    code, seen = _on_terminal(120, TERM="dumb")
    assert code == 0 and "\x1b" not in seen and "  3 steps in 0:00:0" in seen


@pytest.mark.parametrize("word", ["text", "json", "quiet"])
def test_a_run_goes_on_when_its_reader_goes_away(word: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DEMO, word], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        complaints = process.stderr.read()
        assert process.wait(60) == 0
    assert "BrokenPipe" not in complaints and "Traceback" not in complaints


def test_a_run_goes_on_without_any_stream() -> None:
    command = '"$0" -c "$1" text >&- 2>&-'
    assert subprocess.run(["sh", "-c", command, sys.executable, DEMO]).returncode == 0


def test_a_view_may_break_at_any_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "the terminal is gone")

    monkeypatch.setattr(sys, "stderr", Broken())
    show = create(quiet=False, plain=True)
    show.stage("Train")
    with show.bar("", 1, unit="step") as bar:
        bar.advance()
    show.warn("still here")


def test_smoothing_starts_at_the_first_value_and_follows() -> None:
    mean = Smoothed(0.9)
    assert mean.add(5.0) == pytest.approx(5.0)
    assert mean.add(5.0) == pytest.approx(5.0)
    assert 1 < mean.add(1.0) < 5
    for _ in range(200):
        last = mean.add(1.0)
    assert last == pytest.approx(1.0, abs=1e-6)


def test_sizes_and_times() -> None:
    assert (gibibytes(1500), gibibytes(812 * 2**20), gibibytes(1.25 * 2**30), gibibytes(1010 * 2**20)) == (
        "1,500 bytes",
        "812 MiB",
        "1.2 GiB",
        "1.0 GiB",
    )
    assert (clock(0), clock(130.4), clock(100_000), clock(-3)) == ("0:00:00", "0:02:10", "27:46:40", "0:00:00")
    assert re.fullmatch(r"[0-9.,]+ [MG]iB", memory())


def test_rich_is_imported_only_for_a_terminal() -> None:
    program = (
        "import sys; from runner.progress import create; create(quiet=False).say('x'); print('rich' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"
