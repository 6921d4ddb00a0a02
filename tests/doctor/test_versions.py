"""Floors, told from metadata alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from runner.cli import main
from runner.doctor import floors, versions
from runner.doctor.versions import Need, installed, misfit, needs, release
from runner.errors import EnvironmentFault


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes a package look installed, in front of the real ones; `recipe` as from a wheel."""
    monkeypatch.setattr(versions, "_PROJECT", tmp_path / "pyproject.toml")
    monkeypatch.syspath_prepend(tmp_path)

    def package(name: str, version: str, *requires: str) -> None:
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {name}",
            f"Version: {version}",
            *(f"Requires-Dist: {r}" for r in requires),
        ]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")

    return package


def test_this_machine_is_fit() -> None:
    floors()


def test_the_floors_are_pyprojects() -> None:
    wanted = {need.name: need for need in needs()}
    assert wanted["torch"].bounds and not wanted["torch"].optional
    assert (">=", "2.10") in wanted["torch"].bounds
    assert wanted["bitsandbytes"].optional
    assert needs("no-such-package") == []


def test_a_checkout_has_its_floors_without_being_installed(monkeypatch) -> None:
    installed = needs()

    def nothing(package: str) -> list[str]:
        raise versions.importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(versions.importlib.metadata, "requires", nothing)
    assert needs() == installed != []


@pytest.mark.parametrize(
    ("name", "version"), [("torch", "2.9.1"), ("transformers", "5.4.9"), ("diffusers", "0.37.0"), ("pillow", "9")]
)
def test_an_old_package_is_named_with_the_mend(pretend, name: str, version: str) -> None:
    pretend(name, version)
    with pytest.raises(EnvironmentFault, match=rf'{name} {version} is too old: run  pip install --upgrade "{name}>='):
        floors()


@pytest.mark.parametrize("verb", ["run", "data"])
def test_every_start_checks_them(pretend, capsys, verb: str) -> None:
    pretend("torch", "2.9.1")
    assert main([verb, "quickstart"]) == 5
    assert "torch 2.9.1 is too old" in capsys.readouterr().err


def test_all_faults_stand_in_one_sentence(pretend) -> None:
    pretend("torch", "2.4.0")
    pretend("recipe", "0.1.0", "torch<2.14,>=2.10", "no-such-package>=3", 'absent-extra>=1; extra == "x"')
    with pytest.raises(EnvironmentFault) as caught:
        floors()
    assert str(caught.value) == (
        "torch 2.4.0 is too old, no-such-package is missing: "
        'run  pip install --upgrade "torch>=2.10,<2.14" "no-such-package>=3"'
    )
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("version", ["2.10.0a0+git1234", "2.10", "2.13.0+cu130", "2.14.0", "3.0"])
def test_nightly_and_newer_builds_are_let_through(pretend, version: str) -> None:
    pretend("torchvision", "1.0")  # one that asks for no torch, in front of what this machine may have
    pretend("torch", version)
    floors()


def test_a_torchvision_for_another_torch_is_named(pretend) -> None:
    pretend("torch", "2.13.0+cpu")
    pretend("torchvision", "0.20.0", "numpy", "torch (==2.5.0)", "pillow !=8.3.*,>=5.3.0")
    with pytest.raises(
        EnvironmentFault, match=r"torchvision 0.20.0 was built for torch 2.5.0, not .* pip uninstall torchvision"
    ):
        floors()


@pytest.mark.parametrize("requires", ["torch==2.13.1", "torch", "torch>=2"])
def test_a_torchvision_that_may_fit_is_left_alone(pretend, requires: str) -> None:
    pretend("torch", "2.13.0+cpu")
    pretend("torchvision", "0.28.0", requires)
    assert misfit() is None
    floors()


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("2.13.0+cpu", (2, 13)),
        ("2.10.0rc1", (2, 10)),
        ("v1.2", (1, 2)),
        ("1!4.0.1", (4, 0, 1)),
        ("dev", ()),
        ("10", (10,)),
    ],
)
def test_the_numbers_of_a_version(version: str, numbers: tuple[int, ...]) -> None:
    assert release(version) == numbers


def test_versions_compare_as_numbers() -> None:
    need = Need("torch", ((">=", "2.10"), ("<", "2.14")), optional=False)
    assert [need.broken(v, upper=False) for v in ("2.9", "2.10.0", "2.100", "")] == [True, False, False, True]
    assert [need.broken(v, upper=True) for v in ("2.9", "2.13.9", "2.14")] == [False, False, True]
    assert need.spelled == "torch>=2.10,<2.14"


def test_broken_metadata_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch-2.13.0.dist-info").mkdir()  # a half-removed package
    monkeypatch.syspath_prepend(tmp_path)
    assert installed("torch") in (None, "0")
    with pytest.raises(EnvironmentFault, match="torch"):
        floors()


def test_floors_import_nothing_heavy() -> None:
    program = (
        "import sys; from runner.doctor import floors; floors()\n"
        "print(sorted({'torch', 'numpy', 'diffusers', 'rich'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
