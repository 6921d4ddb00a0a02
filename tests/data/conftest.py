"""What the data tests share: a display that remembers, a section with every key, and pictures to save."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


class Remembers:
    """A `Progress` that keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []
        self.bars: list[tuple[str, int | None, int]] = []

    def stage(self, title: str) -> None:
        self.lines.append(title)

    say = result = stage

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    @contextmanager
    def bar(self, title: str, total: int | None, *, unit: str, start: int = 0) -> Iterator[Any]:
        class Bar:
            done = start

            def advance(self, n: int = 1, **facts: str) -> None:
                self.done += n

        bar = Bar()
        yield bar
        self.bars.append((title, total, bar.done))


@pytest.fixture
def progress() -> Remembers:
    return Remembers()


@pytest.fixture
def section() -> Callable[..., dict[str, Any]]:
    """A resolved `data` section; what a test does not name stands at the schemas' defaults."""

    def fill(**given: Any) -> dict[str, Any]:
        folder = {"caption_column": "text", "metadata_file": None}
        hub = {"config": None, "split": "train", "revision": None, "streaming": False}
        hub |= {"image_column": None, "caption_column": None, "label_column": None}
        shared = {"resolution": 16, "interpolation": "lanczos", "center_crop": True, "random_flip": False}
        shared |= {"background": "#ffffff", "max_images": None, "on_error": "stop"}
        return {**(hub if given.get("type") == "hub" else folder), **shared, "type": "folder", **given}

    return fill


@pytest.fixture
def picture() -> Callable[..., Path]:
    """Save a small picture of one colour at a path, making its folders."""

    def save(path: Path, colour: Any = (200, 30, 40), size: tuple[int, int] = (20, 24), mode: str = "RGB") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, colour).save(path)
        return path

    return save
