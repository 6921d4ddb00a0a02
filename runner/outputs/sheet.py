"""A labelled contact sheet: pictures in rows and columns, with the names of both at their edges."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from PIL import Image, ImageDraw, ImageFont

from runner.outputs.pictures import COMFORTABLE, MOST, sized
from runner.shown import shown

_CELL = 128  # pixels of a usual picture's shorter side, at least, so that a label has room
_UNKNOWN = 512  # a cell's side where no picture says it
_LABEL_LINES = 4  # of a column's label and of the title
_LEADING = 1.3
_INK, _FAINT, _EMPTY = "#333333", "#888888", "#eeeeee"
_MISSING = "no picture"
_READABLE = 5  # pixels of a letter, at least
_TRIES = 8
_PER_LINE = 200  # characters; more never fit
_COMMA = re.compile(r"(?<=,)\s+")
_WHOLE = 100_000  # characters of a label: it is shortened where it is laid out


def sheet(
    images: Sequence[Image.Image | None], rows: Sequence[str], columns: Sequence[str], *, title: str | None = None
) -> Image.Image:
    """Pictures row by row, each row's label at its left and each column's above it.

    The pictures may differ in size: they keep their proportions to each other, each in the middle of its cell. All
    grow by one whole factor where they are small, and shrink where a side of the sheet would pass 8192 pixels. Labels
    are broken into lines, and shortened where even that does not fit. None is a grey cell.

    Raises:
        ValueError: not one picture (or None) for each pair of a row and a column.
    """
    if not images or len(images) != len(rows) * len(columns):
        raise ValueError(f"pictures for {len(rows)} rows and {len(columns)} columns are wanted, got {len(images)}")
    layout = _fitting(_Wanted.of(images, rows, columns, title or ""))
    whole = Image.new("RGB", layout.whole, "white")
    draw = ImageDraw.Draw(whole)
    for i, image in enumerate(images):
        _place(whole, draw, image, layout, *divmod(i, len(columns)))
    _write(draw, layout)
    whole.thumbnail((MOST, MOST))  # some thousand rows do not fit otherwise
    return whole


@dataclass(frozen=True)
class _Wanted:
    """What is to be laid out: the largest width in each column and height in each row, and the labels."""

    widths: list[int]
    heights: list[int]
    rows: list[str]
    columns: list[str]
    title: str

    @classmethod
    def of(
        cls, images: Sequence[Image.Image | None], rows: Sequence[str], columns: Sequence[str], title: str
    ) -> _Wanted:
        count = len(columns)
        across = [[image.width for image in images[i::count] if image] for i in range(count)]
        down = [[image.height for image in images[i : i + count] if image] for i in range(0, len(images), count)]
        return cls(
            widths=_largest(across),
            heights=_largest(down),
            rows=[shown(row, _WHOLE) for row in rows],
            columns=[shown(column, _WHOLE) for column in columns],
            title=shown(title, _WHOLE),
        )


def _largest(sides: list[list[int]]) -> list[int]:
    """The largest of each list; an empty one is as long as most others are."""
    known = [max(side) for side in sides if side]
    return [max(side) if side else int(median(known or [_UNKNOWN])) for side in sides]


@dataclass(frozen=True)
class _Label:
    """Text in lines that fit."""

    lines: list[str]
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    step: int

    @property
    def width(self) -> int:
        return math.ceil(max((self.font.getlength(line) for line in self.lines), default=0))

    @property
    def height(self) -> int:
        return self.step * len(self.lines)

    def write(self, draw: ImageDraw.ImageDraw, x: float, y: float, colour: str = _INK) -> None:
        """Writes the lines around the point (x, y)."""
        for i, line in enumerate(self.lines):
            place = (x, y - self.height / 2 + (i + 0.5) * self.step)
            draw.text(place, line, fill=colour, font=self.font, anchor="mm")


class _Type:
    """A size of letters, and how text is broken into lines of it."""

    def __init__(self, size: int) -> None:
        self.size, self.font = size, ImageFont.load_default(size)
        self.step = math.ceil(size * _LEADING)

    def longest_word(self, texts: Sequence[str], most: float) -> int:
        """The width of the longest word that is no wider than `most`."""
        lengths = (self.font.getlength(word) for text in texts for word in set(text.split()))
        return math.ceil(max((length for length in lengths if length <= most), default=0))

    def label(self, text: str, width: float, height: float) -> _Label:
        """`text` in lines of `width` pixels at most; an ellipsis ends what `height` pixels do not hold."""
        if self.size < _READABLE:
            return _Label([], self.font, self.step)
        most = max(1, int(height / self.step))
        lines = self._lines(text[: _PER_LINE * most], width)
        if len(lines) > most:
            lines = [*lines[: most - 1], self._cut(f"{lines[most - 1].rstrip(' ,')}…", width)]
        return _Label(lines, self.font, self.step)

    def _lines(self, text: str, width: float) -> list[str]:
        """Phrases that end with a comma stay whole where they can; then words; a word is cut only if it is too long."""
        lines: list[str] = []
        for phrase in _COMMA.split(text):
            pieces = [phrase] if self.font.getlength(phrase) <= width else phrase.split()
            for piece in pieces:
                joined = f"{lines[-1]} {piece}" if lines else piece
                if lines and self.font.getlength(joined) <= width:
                    lines[-1] = joined
                else:
                    lines += self._pieces(piece, width)
        return lines

    def _pieces(self, word: str, width: float) -> Iterator[str]:
        while len(word) > 1 and self.font.getlength(word) > width:
            fits = next((n for n in range(len(word) - 1, 1, -1) if self.font.getlength(word[:n]) <= width), 1)
            yield word[:fits]
            word = word[fits:]
        if word:
            yield word

    def _cut(self, line: str, width: float) -> str:
        while len(line) > 1 and self.font.getlength(line) > width:
            line = f"{line[:-2].rstrip(' ,')}…"
        return line


@dataclass(frozen=True)
class _Layout:
    """Where everything stands, in pixels: the first and the length of each column and row of cells, and the labels."""

    scale: float
    type: _Type
    gap: int
    lefts: list[int]
    widths: list[int]
    tops: list[int]
    heights: list[int]
    rows: list[_Label]
    columns: list[_Label]
    title: _Label

    @property
    def whole(self) -> tuple[int, int]:
        return self.lefts[-1] + self.widths[-1] + self.gap, self.tops[-1] + self.heights[-1] + self.gap


def _fitting(wanted: _Wanted) -> _Layout:
    """The layout at the largest scale at which it is no larger than MOST."""
    usual = min(median(wanted.widths), median(wanted.heights))
    longer = max(sum(wanted.widths), sum(wanted.heights))
    scale = min(max(1, math.ceil(_CELL / usual), math.ceil(COMFORTABLE / longer)), MOST / longer)
    layout = _layout(wanted, scale)
    for _ in range(_TRIES):
        if max(layout.whole) <= MOST:
            break
        scale *= 0.99 * MOST / max(layout.whole)
        layout = _layout(wanted, scale)
    return layout


def _layout(wanted: _Wanted, scale: float) -> _Layout:
    widths = [max(1, int(width * scale)) for width in wanted.widths]
    heights = [max(1, int(height * scale)) for height in wanted.heights]
    usual = min(median(widths), median(heights))
    size = max(1, min(48, max(13, int(usual / 16)), min(heights)))
    type_, gap = _Type(size), max(1, size // 2)
    word = type_.longest_word(wanted.columns, 1.5 * median(widths))
    widths = [max(width, word) for width in widths]  # rather than cut a word in two
    beside = max(0.75 * usual, type_.longest_word(wanted.rows, 1.5 * usual))
    rows = [type_.label(row, beside, height) for row, height in zip(wanted.rows, heights, strict=True)]
    columns = [
        type_.label(column, width, _LABEL_LINES * type_.step)
        for column, width in zip(wanted.columns, widths, strict=True)
    ]
    label = max(row.width for row in rows)
    lefts = _starts(gap + (label + gap if label else 0), widths, gap)
    large = _Type(round(size * 1.25))
    title = large.label(wanted.title, lefts[-1] + widths[-1] - gap, _LABEL_LINES * large.step)
    above = sum(height + gap for height in (title.height, max(column.height for column in columns)) if height)
    return _Layout(scale, type_, gap, lefts, widths, _starts(gap + above, heights, gap), heights, rows, columns, title)


def _starts(first: int, lengths: Sequence[int], gap: int) -> list[int]:
    starts = [first]
    for length in lengths[:-1]:
        starts.append(starts[-1] + length + gap)
    return starts


def _place(
    whole: Image.Image, draw: ImageDraw.ImageDraw, image: Image.Image | None, layout: _Layout, row: int, column: int
) -> None:
    """Puts one picture, or a word, into its cell."""
    left, top = layout.lefts[column], layout.tops[row]
    width, height = layout.widths[column], layout.heights[row]
    if image is None:
        draw.rectangle((left, top, left + width - 1, top + height - 1), fill=_EMPTY)
        layout.type.label(_MISSING, width, height).write(draw, left + width / 2, top + height / 2, _FAINT)
        return
    picture = sized(image, max(1, int(image.width * layout.scale)), max(1, int(image.height * layout.scale)))
    whole.paste(picture, (left + (width - picture.width) // 2, top + (height - picture.height) // 2))


def _write(draw: ImageDraw.ImageDraw, layout: _Layout) -> None:
    """Writes the labels: a row's in the middle of its height, a column's close above its pictures."""
    for label, top, height in zip(layout.rows, layout.tops, layout.heights, strict=True):
        label.write(draw, (layout.lefts[0]) / 2, top + height / 2)
    for label, left, width in zip(layout.columns, layout.lefts, layout.widths, strict=True):
        label.write(draw, left + width / 2, layout.tops[0] - layout.gap - label.height / 2)
    layout.title.write(draw, layout.whole[0] / 2, layout.gap + layout.title.height / 2)
