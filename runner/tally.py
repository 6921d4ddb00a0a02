"""The numbers of a piece of work under way: how far, how fast, how long still."""

import time

from runner.shown import shown

_BARE = {"rate", "memory"}  # facts whose value says what it is: "45.1 images/s", "1.2 GiB"


def gibibytes(size: float) -> str:
    """`size` bytes for people: "1,024 bytes", "812 MiB", "1.2 GiB", "3.4 TiB"."""
    if abs(size) < 2**20:
        return f"{size:,.0f} bytes"
    if size < 1000 * 2**20:
        return f"{size / 2**20:.0f} MiB"
    return f"{size / 2**30:.1f} GiB" if size < 1000 * 2**30 else f"{size / 2**40:,.1f} TiB"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


class Tally:
    """The numbers behind a bar, whichever way it is shown."""

    def __init__(self, title: str, total: int | None, unit: str, start: int) -> None:
        self.title, self.total, self.unit, self.start, self.done = shown(title), total, unit, start, start
        self.facts: dict[str, str] = {}
        self._began = self._paced = time.monotonic()

    def advance(self, n: int = 1, **facts: str) -> None:
        if self.done == self.start:  # the first piece is slow (warm-up), so the pace counts from its end
            self._paced, self._slow = time.monotonic(), n
        self.done += n
        if facts:
            self.facts = {name: shown(value) for name, value in facts.items()}

    def elapsed(self) -> float:
        """Seconds since the bar began."""
        return time.monotonic() - self._began

    def left(self) -> float | None:
        """Seconds to go at the mean pace so far, pauses included; None until two pieces are done."""
        paced = self.done - self.start - self._slow if self.done > self.start else 0
        if self.total is None or paced <= 0:
            return None
        return max(0, self.total - self.done) * (time.monotonic() - self._paced) / paced

    def counted(self) -> str:
        """step 120/1,000; of bytes 1.2 GiB of 3.4 GiB"""
        if self.unit == "byte":
            return gibibytes(self.done) + ("" if self.total is None else f" of {gibibytes(self.total)}")
        total = "" if self.total is None else f"{self.total:,}"
        return f"{self.unit} {self.done:{max(len(total), 1)},}" + (f"/{total}" if total else "")

    def beside(self) -> list[str]:
        """loss 0.0312, lr 1.0e-04, 41.2 images/s"""
        return [value if name in _BARE else f"{name} {value}" for name, value in self.facts.items()]

    def time(self) -> str:
        """0:02:10 left; the time taken where the end is not known."""
        left = self.left()
        return clock(self.elapsed()) if left is None else f"{clock(left)} left"

    def closing(self) -> str:
        """The line that stays: 1,000 steps in 0:04:12, and the last facts."""
        short = self.total is not None and self.done < self.total
        total = self.total if short and self.total is not None else self.done
        of = f"{self.done:,} of " if short else ""
        units = self.unit if total == 1 else f"{self.unit}s"
        title = f"{self.title}: " if self.title else ""
        if self.unit == "byte":
            amount = f"{gibibytes(self.done)} of {gibibytes(total)}" if short else gibibytes(total)
            return "  ".join([f"{title}{amount} in {clock(self.elapsed())}", *self.beside()])
        return "  ".join([f"{title}{of}{total:,} {units} in {clock(self.elapsed())}", *self.beside()])
