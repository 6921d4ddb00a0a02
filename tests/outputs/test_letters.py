"""What can be written on a sheet."""

import pytest

from runner.outputs.letters import legible


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("a cat, (red:1.3) “so” …", "a cat, (red:1.3) “so” …"),
        ("un café\n à  la crème — Ångström", "un cafe a la creme - Angstrom"),
        ("512×768", "512x768"),
        ("ｃａｔ", "cat"),
        (" \n", ""),
        ("猫", None),
        ("قطة", None),
        ("кошка", None),
        ("a cat 🐱", None),
        ("\x1b[31m", None),
    ],
)
def test_a_text_is_drawn_in_letters_that_the_font_has_or_not_at_all(text, drawn):
    assert legible(text) == drawn
