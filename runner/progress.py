"""What a run shows while it goes: a rich display on a terminal, plain lines elsewhere, JSON lines for programs.

Progress goes to stderr, results to stdout. A view that breaks (a closed pipe, a terminal that went away) never
stops the run. All text passes through `shown` and is never read as markup.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

from runner.shown import shown
from runner.tally import Tally, gibibytes
from runner.view import View

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

_LIMIT = 20_000  # characters of one line; paths must stay whole to be copied
_STYLES = {"stage": "bold", "warning": "yellow"}
_BAR_WIDTHS = (6, 40)  # narrower than this says nothing, wider says no more


class Bar(Protocol):
    """One countable piece of work."""

    def advance(self, n: int = 1, **facts: str) -> None:
        """`n` more units are done. `facts` stand beside the bar in the order given, until the next call with facts."""


class Progress(Protocol):
    """What a run tells the person who watches it."""

    def stage(self, title: str) -> None:
        """A new part of the run begins: one short line that stays."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def warn(self, text: str) -> None:
        """A warning; shown even when quiet."""

    def bar(self, title: str, total: int | None, *, unit: str, start: int = 0) -> AbstractContextManager[Bar]:
        """Count `total` pieces (None: not known) from `start`. `unit` is the word for one, with a plural in -s.

        Bars may be nested: an outer one leaves a closing line, an inner one nothing.
        """

    def result(self, text: str) -> None:
        """What the run was for, on stdout; shown even when quiet."""


def create(*, quiet: bool, plain: bool | None = None, as_json: bool = False) -> Progress:
    """The display that fits: rich on a terminal, else plain lines (`plain` forces either); or JSON events on stdout."""
    out, err = View(sys.stdout), View(sys.stderr)
    if as_json:
        sys.stdout = sys.stderr  # a library's stray print must not stand between the events
        return _JsonLines(out, err, quiet)
    if plain is None:
        plain = not err.isatty() or os.environ.get("TERM", "") in ("dumb", "unknown")
    return _Lines(out, err, quiet) if plain or quiet else _Rich(out, err, quiet)


def silent() -> Progress:
    """The display of a process beside the one that speaks."""
    nowhere = View(Path(os.devnull).open("w"))  # noqa: SIM115 - as long as the process
    return _Lines(nowhere, nowhere, quiet=True)


def memory() -> str:
    """Memory in use, as "1.2 GiB": on the GPU if this process has any there, else its resident memory."""
    torch = sys.modules.get("torch")
    if torch is not None and (reserved := torch.cuda.memory_reserved()):
        return gibibytes(reserved)
    import psutil

    return gibibytes(psutil.Process().memory_info().rss)


class Smoothed:
    """An exponential mean without the pull of its start (Adam's bias correction, Kingma & Ba 2015, algorithm 1)."""

    def __init__(self, decay: float = 0.95) -> None:
        self._decay, self._mean, self._weight = decay, 0.0, 0.0

    def add(self, value: float) -> float:
        """Take `value` in and return the mean so far."""
        self._mean = self._decay * self._mean + (1 - self._decay) * value
        self._weight = self._decay * self._weight + (1 - self._decay)
        return self._mean / self._weight


class _Lines:
    """Plain lines: a bar prints one every few seconds (seldom in a long run) and one at its end."""

    def __init__(self, out: View, err: View, quiet: bool) -> None:
        self._out, self._err, self._quiet = out, err, quiet
        self._bars: list[Tally] = []

    def stage(self, title: str) -> None:
        self._note("stage", title)

    def say(self, text: str) -> None:
        self._note("say", text)

    def warn(self, text: str) -> None:
        self._write(self._err, "warning", f"warning: {text}")

    def result(self, text: str) -> None:
        self._write(self._out, "result", text)

    @contextmanager
    def bar(self, title: str, total: int | None, *, unit: str, start: int = 0) -> Iterator[Bar]:
        bar = _LineTally(title, total, unit, start, self)
        self._bars.append(bar)
        try:
            yield bar
        finally:
            self._bars.remove(bar)
            if not self._bars:
                self.ended(bar)

    def moved(self, bar: Tally) -> None:
        """It is time for a line about `bar`."""
        self._note("say", "  " + "  ".join([_titled(bar) + bar.counted(), *bar.beside(), bar.time()]))

    def ended(self, bar: Tally) -> None:
        """The outermost bar is over."""
        self._note("say", f"  {bar.closing()}")

    def _note(self, kind: str, text: str) -> None:
        if not self._quiet:
            self._write(self._err, kind, text)

    def _write(self, view: View, kind: str, text: str) -> None:  # noqa: ARG002 - the twins tell kinds apart
        view.write(_clean(text) + "\n")
        view.flush()


class _LineTally(Tally):
    """A bar that asks for a line when the last one is long enough ago: 5 s at first, up to a minute later on."""

    def __init__(self, title: str, total: int | None, unit: str, start: int, lines: _Lines) -> None:
        super().__init__(title, total, unit, start)
        self._lines, self._last = lines, 0.0

    def advance(self, n: int = 1, **facts: str) -> None:
        super().advance(n, **facts)
        elapsed = self.elapsed()
        if elapsed - self._last >= min(60.0, max(5.0, elapsed / 20)) and self.done != self.total:
            self._last = elapsed
            self._lines.moved(self)


class _JsonLines(_Lines):
    """One JSON object per event on stdout, at the plain lines' pace."""

    def moved(self, bar: Tally) -> None:
        self._bar("progress", bar)

    def ended(self, bar: Tally) -> None:
        self._bar("counted", bar)

    def _bar(self, event: str, bar: Tally) -> None:
        if not self._quiet:
            left = bar.left()
            numbers = {"title": bar.title, "unit": bar.unit, "done": bar.done, "total": bar.total}
            times = {"seconds": round(bar.elapsed(), 1), "seconds_left": None if left is None else round(left, 1)}
            self._event({"event": event, **numbers, **times, "facts": bar.facts})

    def warn(self, text: str) -> None:
        self._write(self._out, "warning", text)

    def _write(self, view: View, kind: str, text: str) -> None:  # noqa: ARG002 - events have one stream
        self._event({"event": kind, "text": _clean(text)})

    def _event(self, event: dict[str, Any]) -> None:
        self._out.write(json.dumps(event, ensure_ascii=not self._out.unicode) + "\n")
        self._out.flush()


class _Rich(_Lines):
    """A terminal: notes scroll by, the bars stay at the bottom and are redrawn in place."""

    def __init__(self, out: View, err: View, quiet: bool) -> None:
        from rich.console import Console

        super().__init__(out, err, quiet)
        # The guards are for libraries' output too, which rich prints above the bars.
        self._console = Console(file=cast(TextIO, err), markup=False, highlight=False, emoji=False)

    @contextmanager
    def bar(self, title: str, total: int | None, *, unit: str, start: int = 0) -> Iterator[Bar]:
        from rich.live import Live

        bar = Tally(title, total, unit, start)
        self._bars.append(bar)
        try:
            if len(self._bars) > 1:
                yield bar
            else:
                with Live(
                    console=self._console,
                    get_renderable=self._drawn,
                    transient=True,
                    refresh_per_second=8,
                    redirect_stdout=self._out.isatty(),  # stdout that goes to a file must reach it
                ):
                    yield bar
        finally:
            self._bars.remove(bar)
            if not self._bars:
                self.ended(bar)

    def _write(self, view: View, kind: str, text: str) -> None:
        if view is self._out and not (self._bars and view.isatty()):
            super()._write(view, kind, text)
        else:
            self._console.print(_clean(text), style=_STYLES.get(kind), soft_wrap=True)

    def _drawn(self) -> "Group":
        from rich.console import Group

        return Group(*(self._line(bar) for bar in list(self._bars)))

    def _line(self, bar: Tally) -> "Text":
        """Count, bar, facts and time in one line; in a narrow terminal the last facts leave first."""
        from rich.cells import cell_len
        from rich.text import Text

        narrowest, widest = _BAR_WIDTHS if bar.total else (0, 0)
        head, tail = f"  {_titled(bar)}{bar.counted()}", [*bar.beside(), bar.time()]

        def room() -> int:
            return self._console.width - 1 - cell_len(head) - sum(2 + cell_len(part) for part in tail)

        while tail and room() < narrowest + 2:
            tail.pop(-2 if len(tail) > 1 else -1)
        line = Text(head, no_wrap=True, overflow="crop")
        width = min(widest, room() - 2)
        if bar.total and width >= narrowest:
            full = min(width, width * bar.done // bar.total)
            done, rest = ("\u2501", "\u2500") if self._err.unicode else ("#", "-")
            line.append("  ").append(done * full, "cyan").append(rest * (width - full), "bright_black")
        for part in tail:
            line.append("  ").append(part, "bright_black" if part is tail[-1] else "")
        return line


def _titled(bar: Tally) -> str:
    return f"{bar.title}: " if bar.title else ""


def _clean(text: str) -> str:
    """Every line of `text` without control characters."""
    return "\n".join(shown(line, _LIMIT) for line in text.split("\n"))
