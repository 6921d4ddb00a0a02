"""Schemas and recipes are found wherever the package lies."""

from runner import shipped_files


def test_the_folders_are_there() -> None:
    assert (shipped_files.folder("schemas") / "recipe.json").is_file()
    assert (shipped_files.folder("recipes") / "quickstart.yaml").is_file()


def test_recipes_have_a_name_and_a_description() -> None:
    listed = shipped_files.recipes()
    assert "quickstart" in [name for name, _, _ in listed]
    for name, description, path in listed:
        assert path.stem == name
        assert len(description) > 10


def test_a_bare_name_finds_its_file() -> None:
    path = shipped_files.find("quickstart")
    assert path is not None and path.name == "quickstart.yaml"
    assert shipped_files.find("quickstart.yaml") is None
    assert shipped_files.find("../quickstart") is None
