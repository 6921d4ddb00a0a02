"""What run.json tells."""

import shutil
import subprocess
from pathlib import Path

import pytest

from runner.outputs.record import git_commit

COMMIT = "0123456789abcdef" * 2 + "01234567"


def git(folder: Path, *arguments: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *names, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_the_commit_is_gits_own(tmp_path: Path) -> None:
    git(tmp_path, "init", "work")
    work = tmp_path / "work"
    assert git_commit(work) is None  # nothing committed yet
    (work / "inner").mkdir()
    git(work, "commit", "--allow-empty", "-m", "one")
    one = git(work, "rev-parse", "HEAD").strip()
    assert git_commit(work) == git_commit(work / "inner") == one
    git(work, "worktree", "add", "-b", "side/branch", "../beside")
    git(tmp_path / "beside", "commit", "--allow-empty", "-m", "two")
    two = git(tmp_path / "beside", "rev-parse", "HEAD").strip()
    assert (git_commit(work), git_commit(tmp_path / "beside")) == (one, two)
    git(work, "pack-refs", "--all")
    assert (git_commit(work), git_commit(tmp_path / "beside")) == (one, two)
    git(work, "checkout", "--detach", two)
    assert git_commit(work) == two


@pytest.mark.parametrize(
    "head", ["", "ref: refs/heads/none", "ref: ../../elsewhere", "ref: refs/../../../elsewhere", "no commit", "\udcff"]
)
def test_an_odd_repository_has_no_commit(tmp_path: Path, head: str) -> None:
    work = tmp_path / "work"
    (work / ".git" / "refs").mkdir(parents=True)
    (tmp_path / "elsewhere").write_text(COMMIT)
    (work / ".git" / "HEAD").write_text(head, "utf-8", "surrogateescape")
    assert git_commit(work) is None
    (work / ".git" / "HEAD").write_text(COMMIT)
    assert git_commit(work) == COMMIT
