import pytest

from runner.data.captions import require_captions
from runner.errors import DataError


def test_pictures_without_a_caption_are_counted_and_named():
    names = [f"{letter}.png" for letter in "abcdefg"] + ["\x1b[2J.png"] * 105
    with pytest.raises(DataError) as caught:
        require_captions(names, 500)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(
        "112 of 500 pictures have no caption (a.png, b.png, c.png, d.png, e.png and 107 more): add the captions, "
    )
    for key in ("data.caption", "data.instance_prompt", "data.caption_templates"):
        assert key in message


def test_a_single_picture_and_names_that_are_no_text():
    with pytest.raises(DataError, match=r"^1 of 1 picture has no caption \(\\x1b\[2J\.png\): "):
        require_captions(["\x1b[2J.png"], 1)


def test_all_have_captions():
    require_captions([], 500)


def test_where_a_model_had_no_words_another_is_the_mend():
    with pytest.raises(DataError, match=r"1 of 8 pictures have no caption \(a\.png\): .*data\.caption\.id"):
        require_captions(["a.png"], 8, captioned=True)
