"""Every bad recipe prints exactly the text that lies beside it."""

from pathlib import Path

import pytest

from runner.language.problems import RecipeProblems, render
from runner.language.recipe import read

FOLDER = Path(__file__).parents[1] / "recipes" / "bad"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
REFUSED = {
    "caption_by_url",
    "code_keys",
    "env_tag",
    "id_that_leaves",
    "ids_that_leave",
    "include_tag",
    "metadata_by_url",
    "mixed_ids",
    "name_leaves",
    "name_reserved",
    "output_is_a_path",
    "publishing_keys",
    "python_tag",
    "secret_as_token",
    "secret_as_word",
    "secret_in_prompt",
    "url_as_id",
    "urls_as_ids",
}


def test_there_are_enough_of_them() -> None:
    assert len(NAMES) >= 60
    assert set(NAMES) >= REFUSED


@pytest.mark.parametrize("name", NAMES)
def test_bad_recipe(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    with pytest.raises(RecipeProblems) as caught:
        read(f"{name}.yaml")
    assert render(caught.value.problems) + "\n" == (FOLDER / f"{name}.txt").read_text("utf-8")
    assert caught.value.exit_code == (6 if name in REFUSED else 1)
    assert caught.value.problems == sorted(caught.value.problems, key=lambda p: (p.line, p.column))
