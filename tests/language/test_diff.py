"""What differs between two recipes."""

from runner.language.diff import ABSENT, differences, render


def test_differences_key_by_key() -> None:
    a = {"seed": 1, "data": {"type": "hub", "split": "train"}, "same": [1, 2], "flag": True}
    b = {"seed": 2, "data": {"type": "folder", "id": "x\x1b"}, "same": [1, 2], "flag": 1, "new": None}
    found = differences(a, b)
    assert found == [
        ("seed", 1, 2),
        ("data.type", "hub", "folder"),
        ("data.split", "train", ABSENT),
        ("data.id", ABSENT, "x\x1b"),
        ("flag", True, 1),
        ("new", ABSENT, None),
    ]
    assert render(found).splitlines()[3:] == ["data.id: (absent) → x\\x1b", "flag: true → 1", "new: (absent) → null"]


def test_equal_recipes_differ_in_nothing() -> None:
    assert differences({"a": {"b": 1.0}}, {"a": {"b": 1.0}}) == []
    assert render([]) == ""
