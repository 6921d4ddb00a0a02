"""The prompt syntax of web UIs, beside what theirs is documented to read."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.prompts.syntax import Fragment, parse, problem


def pairs(prompt):
    return [[(one.text, pytest.approx(one.weight)) for one in part] for part in parse(prompt)]


# The examples in the docstring of parse_prompt_attention, and what its text promises.
DOCUMENTED = [
    ("normal text", [("normal text", 1)]),
    ("an (important) word", [("an ", 1), ("important", 1.1), (" word", 1)]),
    ("(unbalanced", [("unbalanced", 1.1)]),
    (r"\(literal\]", [("(literal]", 1)]),
    ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
    (
        "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
        [("a ", 1), ("house", 1.573), (" ", 1.1), ("on", 1), (" a ", 1.1), ("hill", 0.55), (", sun, ", 1.1),
         ("sky", 1.4641), (".", 1.1)],
    ),
    ("(abc:3.12)", [("abc", 3.12)]),
    ("[abc]", [("abc", 1 / 1.1)]),
    (r"\(\[\)\]\\", [("([)]\\", 1)]),
]  # fmt: skip

OURS = [
    ("((masterpiece,best quality))", [("masterpiece,best quality", 1.21)]),
    ("[[a]]", [("a", 1 / 1.21)]),
    ("(a:.5)(b:2.)(c:-1)(d:+3)", [("a", 0.5), ("b", 2), ("c", -1), ("d", 3)]),
    ("(a: 1.3 )", [("a", 1.3)]),
    ("(a:b:1.2)", [("a:b", 1.2)]),
    ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
    ("(a:x)", [("a:x", 1.1)]),
    ("[a:b]", [("a:b", 1 / 1.1)]),
    ("a) b] c:0.5)", [("a) b] c:0.5)", 1)]),
    ("[unbalanced (too", [("unbalanced ", 1 / 1.1), ("too", 1)]),
    ("(a [b) c]", [("a ", 1.1), ("b", 1), (" c", 1 / 1.1)]),
    ("()[]", []),
    ("", []),
    ("a cat++ \"b\".and() c|d", [("a cat++ \"b\".and c|d", 1)]),
    ("(a|b)", [("a|b", 1.1)]),
    (r"[a\|b\:0.5]", [("a|b:0.5", 1 / 1.1)]),
    (r"^\(^", [("^(^", 1)]),
    ("line\nbreak", [("line\nbreak", 1)]),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "expected"), DOCUMENTED + OURS)
def test_weights(prompt, expected):
    assert pairs(prompt) == [expected]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a BREAK b", [[("a", 1)], [("b", 1)]]),
        ("a\nBREAK\nb", [[("a", 1)], [("b", 1)]]),
        ("a, BREAK, b", [[("a,", 1)], [(", b", 1)]]),
        ("BREAKFAST break BREAKs _BREAK", [[("BREAKFAST break BREAKs _BREAK", 1)]]),
        ("a BREAK BREAK b", [[("a", 1)], [], [("b", 1)]]),
        ("BREAK a BREAK", [[], [("a", 1)]]),
        ("BREAK", [[]]),
        ("(a BREAK b:1.5) c", [[("a", 1.5)], [("b", 1.5), (" c", 1)]]),
    ],
)
def test_break(prompt, expected):
    assert pairs(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a [cat:dog:0.5]", "prompt editing as in '[cat:dog:0.5]' is not supported, the text stays the same for all "
         "steps: choose one of the texts, or \\[ and \\] for the characters"),
        ("[red:1.3] hair", "prompt editing as in '[red:1.3]' is not supported, the text stays the same for all steps: "
         "for a weight write (red:1.3), or \\[ and \\] for the characters"),
        ("[a::5]", "prompt editing as in '[a::5]' is not supported, the text stays the same for all steps: "
         "choose one of the texts, or \\[ and \\] for the characters"),
        ("[[a] (b:1.2)|c]", "prompt editing as in '[[a] (b:1.2)|c]' is not supported, the text stays the same for all "
         "steps: choose one of the texts, or \\[ and \\] for the characters"),
        ("a <lora:cat:0.8> b", "a prompt loads no LoRA: take '<lora:cat:0.8>' out of it and write "
         "model.loras: [{id: cat.safetensors, weight: 0.8}]"),
        ("<LORA:cat>", "a prompt loads no LoRA: take '<LORA:cat>' out of it and write "
         "model.loras: [{id: cat.safetensors}]"),
        ("<lyco:cat:te=1:unet=1>", "a prompt loads no LoRA: take '<lyco:cat:te=1:unet=1>' out of it and write "
         "model.loras: [{id: cat.safetensors}]"),
        ("<hypernet:x:1>", "hypernetworks are not supported: take '<hypernet:x:1>' out of the prompt"),
        ("a cat AND a dog", "AND between prompts (composition) is not supported: write and in small letters"),
        ("(a:101)", "the weight of 'a' is 101: write 100 or less (0.5 to 1.5 is what models bear)"),
        ("(" * 60 + "a", "the weight of 'a' is 304.482: write 100 or less (0.5 to 1.5 is what models bear)"),
        (f"(a:{'9' * 400})", "the weight of 'a' is inf: write 100 or less (0.5 to 1.5 is what models bear)"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_said(prompt, message):
    assert problem(prompt) == message
    with pytest.raises(ValueError, match=r"."):
        parse(prompt)


def test_what_can_be_drawn_is_no_problem():
    assert problem("a (cat:1.2) <3 [sketch] SAND") is None


@given(st.text(alphabet="ab ()[]:|\\.12-+BREAK"))
def test_any_text_is_read_or_refused_in_one_line(prompt):
    said = problem(prompt)
    if said is not None:
        assert "\n" not in said
        return
    parts = parse(prompt)
    assert parts
    for part in parts:
        assert all(isinstance(one, Fragment) and one.text for one in part)
        assert all(one.weight != other.weight for one, other in pairwise(part))


@given(st.text(alphabet="ab ,.1"))
def test_text_without_brackets_is_itself(prompt):
    assert parse(prompt) == ([[Fragment(prompt, 1.0)]] if prompt else [[]])
