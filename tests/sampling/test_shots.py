"""What is drawn together, in which order, with which seeds."""

import pytest

from runner.sampling.axes import axes
from runner.sampling.shots import cells, seeds, shots

PLAIN = {"num_images": 1, "batch_size": 1, "seed": 5, "seeds": None, "prompts": None, "matrix": {}}


def drawn(**section):
    """(first, prompts, seeds) of each shot."""
    return [(shot.first, shot.prompts, shot.seeds) for shot in shots({**PLAIN, **section})]


def test_pictures_without_prompts_are_cut_into_batches():
    assert drawn(num_images=5, batch_size=2) == [(0, (), (5, 6)), (2, (), (7, 8)), (4, (), (9,))]


def test_every_prompt_has_the_same_seeds():
    assert drawn(prompts=["a", "b"], num_images=3, batch_size=2) == [
        (0, ("a",), (5, 6)),
        (2, ("a",), (7,)),
        (3, ("b",), (5, 6)),
        (5, ("b",), (7,)),
    ]


def test_a_large_batch_holds_all_the_pictures_of_several_prompts():
    found = drawn(prompts=["a", "b", "c"], num_images=2, batch_size=5)
    assert found == [(0, ("a", "b"), (5, 6, 5, 6)), (4, ("c",), (5, 6))]


def test_the_prompt_of_each_picture():
    (shot,) = shots({**PLAIN, "prompts": ["a", "b"], "num_images": 2, "batch_size": 4})
    assert [shot.prompt(i) for i in range(4)] == ["a", "a", "b", "b"]
    assert list(shot.numbers) == [0, 1, 2, 3]
    assert shot.copies == 2


def test_listed_seeds_are_taken_as_they_are():
    assert seeds({**PLAIN, "seeds": [9, 2], "num_images": 1}) == [9, 2]
    assert drawn(seeds=[9, 2], prompts=["a"], batch_size=2) == [(0, ("a",), (9, 2))]


def test_the_matrix_is_a_product_whose_last_key_changes_fastest():
    matrix = {"guidance_scale": [1, 7], "num_inference_steps": [10, 20, 30]}
    found = cells({**PLAIN, "matrix": matrix})
    assert [tuple(cell.values.values()) for cell in found] == [(1, 10), (1, 20), (1, 30), (7, 10), (7, 20), (7, 30)]
    assert found[4].sampling["guidance_scale"] == 7
    assert found[4].sampling["num_inference_steps"] == 20
    assert "matrix" not in found[4].sampling
    numbers = [shot.first for shot in shots({**PLAIN, "num_images": 2, "batch_size": 2, "matrix": matrix})]
    assert numbers == [0, 2, 4, 6, 8, 10]


def test_a_seed_in_the_matrix_is_the_first_pictures():
    found = shots({**PLAIN, "matrix": {"seed": [1, 100]}, "num_images": 2, "batch_size": 2})
    assert [shot.seeds for shot in found] == [(1, 2), (100, 101)]


@pytest.mark.parametrize(
    ("section", "rows", "columns"),
    [
        ({"matrix": {"guidance_scale": [1.0, 7.5]}}, [""], ["guidance scale 1.0", "guidance scale 7.5"]),
        (
            {"matrix": {"scheduler": [{"type": "DDIM"}, {"type": "UniPCMultistep", "use_karras_sigmas": True}]}},
            [""],
            ["DDIM", "UniPCMultistep, use karras sigmas"],
        ),
        (
            {"matrix": {"num_inference_steps": [5, 9], "eta": [0.0, 1.0]}},
            ["inference steps 5", "inference steps 9"],
            ["eta 0.0", "eta 1.0"],
        ),
        ({"matrix": {"eta": [0.0]}, "prompts": ["a cat", "a dog"]}, ["eta 0.0"], ["a cat", "a dog"]),
        (
            {"matrix": {"eta": [0.0]}, "prompts": ["a cat", "a dog"], "num_images": 2},
            ["eta 0.0, a cat", "a dog"],
            ["seed 5", "seed 6"],
        ),
        ({"matrix": {"seed": [1, 9]}, "num_images": 2}, ["seed 1", "seed 9"], ["picture 1", "picture 2"]),
        (
            {"matrix": {"negative_prompt": ["", "ugly, bad hands"]}, "seeds": [1, 2]},
            ["no negative prompt", "negative: ugly, bad hands"],
            ["seed 1", "seed 2"],
        ),
        ({"matrix": {"prompt_syntax": ["plain", "weighted"]}}, [""], ["prompt syntax plain", "prompt syntax weighted"]),
        (
            {"matrix": {"eta": [0.0, 1.0]}, "prompts": ["猫", "", "un café — à la crème", "قطة", "a 🐱"]},
            ["eta 0.0", "eta 1.0"],
            ["prompt 1", "no prompt", "un cafe - a la creme", "prompt 4", "prompt 5"],
        ),
        ({"matrix": {"negative_prompt": ["ねこ"], "eta": [0.0]}}, ["negative prompt 1"], ["eta 0.0"]),
    ],
)
def test_rows_and_columns_name_what_the_pictures_differ_in(section, rows, columns):
    section = {**PLAIN, **section}
    assert axes(section) == (rows, columns)
    assert sum(len(shot.seeds) for shot in shots(section)) == len(rows) * len(columns)


def test_the_sheet_is_about_square_and_says_nothing_twice():
    section = {
        **PLAIN,
        "matrix": {"guidance_scale": [1, 5, 9], "eta": [0, 1], "clip_skip": [None, 1]},
        "prompts": ["a cat", "a dog"],
        "seeds": [1, 2],
    }
    rows, columns = axes(section)
    assert rows == [f"guidance scale {scale}, eta 0" if eta == 0 else "eta 1" for scale in (1, 5, 9) for eta in (0, 1)]
    assert columns == ["clip skip none, a cat, seed 1", "seed 2", "a dog, seed 1", "seed 2",
                       "clip skip 1, a cat, seed 1", "seed 2", "a dog, seed 1", "seed 2"]  # fmt: skip


def test_long_texts_that_begin_alike_are_told_apart_by_what_differs():
    start = "masterpiece, best quality, highly detailed, cinematic light, "
    prompts = [f"{start}a red house in the snow", f"{start}a red boat", "a cat", start + "a red house", "a " * 40]
    _, columns = axes({**PLAIN, "matrix": {"eta": [0.0, 1.0]}, "prompts": prompts})
    assert columns == [
        "masterpiece, best … house in the snow",
        "masterpiece, best … red boat",
        "a cat",
        "masterpiece, best … red house",
        ("a " * 40).strip(),
    ]
    assert len(set(columns)) == len(prompts)


def test_one_value_twice_has_two_labels():
    assert axes({**PLAIN, "matrix": {"eta": [1, 1], "seed": [5, 5]}}) == (["eta 1"] * 2, ["seed 5"] * 2)
