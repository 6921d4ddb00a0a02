"""The README's page "What a recipe can and cannot do": every sentence of it has a test."""

import ast
import re

import pytest

from tests.conftest import ROOT
from tests.corpus import rows_security  # noqa: F401 - enters its cases in the table
from tests.corpus.table import CASES

WATCHED = "tests/security/test_watched.py"
TRAINING = f"{WATCHED}::test_a_training_from_a_folder_keeps_to_what_it_declares"
EVERY_ROW = f"{WATCHED}::test_every_security_row_of_the_corpus_keeps_to_its_folder"

TESTS = {
    "It is data, and as safe to run as a picture is to look at.": [EVERY_ROW],
    "It trains and draws, with your processor, memory and GPU.": [TRAINING],
    "It reads the files and folders whose paths stand in it.": [TRAINING],
    "It downloads the models and data sets whose ids stand in it, from the hub, with your own login.": [
        "tests/hub/test_commands.py::test_the_pictures_are_those_of_the_same_folder_on_this_machine"
    ],
    "`--dry-run` names each file that would be downloaded, with its size, and `--offline` forbids downloads.": [
        "tests/hub/test_commands.py::test_a_dry_run_says_what_would_be_downloaded_and_fetches_nothing",
        "tests/hub/test_commands.py::test_a_cached_model_is_drawn_from_offline_and_without_a_hub",
    ],
    "It writes into `outputs/<name>/`, the cache and the folder for temporary files, and nowhere else.": [TRAINING],
    "It cannot run code: tags, scripts, hooks, commands and environment variables are refused.": [
        "SEC01 eleven foreign tags",
        "SEC08 keys that ask for code",
    ],
    "It cannot bring code in with a model: custom pipelines, `auto_map`, kernels and classes that are not known are "
    "refused.": [
        "SEC08 an index that names other modules",
        "SEC08 a class that the family has not",
        "SEC08 auto_map in the files of a part",
        "tests/models/test_parts.py::test_what_transformers_would_load_by_itself_is_not_let_in",
    ],
    "It cannot bring code in with a data set: loading scripts are not run, and archives are not unpacked.": [
        "tests/data/test_hub.py::test_scripts_are_not_run",
        "SEC13 an archive with members that lead elsewhere, links, devices, pickles",
    ],
    "It cannot load a pickle: that takes your `--allow-pickle`, and even then nothing but weights is taken from one.": [
        "tests/models/test_single_file.py::test_a_pickle_is_refused_unless_allowed",
        "tests/test_model_faults.py::test_a_pickle_with_code_in_it_runs_nothing",
    ],
    "It cannot lead out of a folder: links in models and pictures that leave theirs are not followed.": [
        "tests/data/test_folder.py::test_links_and_special_files_are_never_opened",
        "tests/models/test_files.py::test_a_link_that_leaves_the_folder_is_not_followed",
    ],
    "It cannot choose where to write: a name or an output that is a path is refused.": [
        "SEC05 names that leave the folder",
        "SEC05 an output that is a path",
    ],
    "It cannot start another program.": [TRAINING, EVERY_ROW],
    "(Several `compute.processes` are `recipe` itself, once for each, with your arguments; Accelerate asks "
    "`nvidia-smi` for the GPUs.": [f"{WATCHED}::test_processes_that_train_together_are_the_command_itself"],
    "Where `compute.compile` is on, torch compiles by this machine's own compiler, and keeps what it makes in the "
    "cache.)": [f"{WATCHED}::test_what_is_compiled_is_compiled_by_this_machine_and_kept_in_the_cache"],
    "It cannot connect to any place but the hub: addresses are refused wherever an id or a path belongs.": [
        "SEC07 ids that are addresses",
        EVERY_ROW,
    ],
    "(Several `compute.processes` also connect to each other.)": [
        f"{WATCHED}::test_processes_that_train_together_are_the_command_itself"
    ],
    "It cannot publish, upload or report anything to anybody.": ["SEC17 keys that publish"],
    "It cannot weaken a guard: that takes an option on your command line.": ["SEC17 keys that weaken a guard"],
    "It cannot show your secrets: the hub's tokens are printed and written as `hf_***`, and values of environment "
    "variables whose names end in `TOKEN`, `KEY`, `SECRET`, `PASSWORD`, `PASSWD`, `PASSPHRASE`, `CREDENTIALS`, `_PASS` "
    "or `_PWD` as `***`, but for plain words, whole numbers and values under 8 characters.": [
        "SEC10 secrets of the environment and of a recipe",
        "tests/test_secrets.py::test_names_that_tell_of_secrets",
        "tests/test_secrets.py::test_secrets_are_hidden",
    ],
    "It cannot hold a token itself, or run with such a value in a path or a prompt.": [
        "SEC10 a token in a prompt",
        "SEC10 a secret in a path",
    ],
    "It cannot play with your terminal, or put HTML into a model's page: control characters and markup are escaped.": [
        "SEC11 markup and escapes in a prompt",
        "tests/outputs/test_card.py::test_foreign_text_is_no_markup",
    ],
    "It cannot use up the machine by being read: files over 256 KiB, bombs of aliases and deep nesting are errors.": [
        "SEC02 a bomb of aliases",
        "SEC04 fifty megabytes",
        "tests/language/test_bad_recipes.py::test_bad_recipe",
    ],
    "`recipe` imports nothing from the working folder.": [
        f"{WATCHED}::test_the_command_imports_nothing_from_the_working_folder"
    ],
    "(`python -m runner` would, by Python's own rule; `python -P -m runner` does not.)": [
        f"{WATCHED}::test_python_itself_imports_from_the_working_folder",
        f"{WATCHED}::test_the_command_imports_nothing_from_the_working_folder",
    ],
}
"""Sentence -> its tests: "file::function", or a case of the corpus by its row and words."""

FRAMES = {"You got a recipe from a stranger?", "What it can do:", "What it cannot do:"}


def sentences():
    """Every sentence of the page, with its line breaks undone."""
    page = re.search(r"\n## What a recipe can and cannot do\n(.*?)\n## ", (ROOT / "README.md").read_text(), re.DOTALL)[
        1
    ]
    blocks = re.split(r"\n\n(?:- )?|\n- ", page)
    return {text for block in blocks for text in re.split(r"(?<=[.?]) (?=[A-Z(])", " ".join(block.split())) if text}


def test_every_sentence_has_a_test_and_every_test_a_sentence():
    assert sentences() - FRAMES == TESTS.keys()


@pytest.mark.parametrize("name", sorted({name for names in TESTS.values() for name in names}))
def test_the_tests_are_there(name):
    path, _, function = name.partition("::")
    if function:
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    else:
        assert name in {f"{case.row} {case.what}" for case in CASES}
