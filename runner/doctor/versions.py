"""Whether the installed packages are the ones that pyproject.toml asks for, told from their metadata alone.

Nothing is imported and nothing is asked: this stands before every run and takes milliseconds.
"""

import importlib.metadata
import operator
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from runner.errors import EnvironmentFault
from runner.shown import shown

_REQUIREMENT = re.compile(r"\s*(?P<name>[\w.-]+)\s*(?:\[[^\]]*\])?\s*\(?(?P<bounds>[^;)]*)\)?\s*(?:;(?P<marker>.*))?")
_BOUND = re.compile(r"(>=|<=|==|!=|~=|<|>)\s*([\w.+!*-]+)")
_HOLDS = {
    ">=": operator.ge,
    "~=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}
_PROJECT = Path(__file__).parents[2] / "pyproject.toml"
MEND_TORCHVISION = "run  pip uninstall torchvision  (recipe does not need it), or install the one for your torch"


@dataclass(frozen=True)
class Need:
    """One requirement: `bounds` are pairs such as (">=", "2.10")."""

    name: str
    bounds: tuple[tuple[str, str], ...]
    optional: bool

    @property
    def spelled(self) -> str:
        """As pip wants it: torch>=2.10,<2.14."""
        return self.name + ",".join(f"{sign}{bound}" for sign, bound in sorted(self.bounds, reverse=True))

    def broken(self, version: str, *, upper: bool) -> bool:
        """Whether `version` is below the lower bounds, or (`upper`) past the upper ones.

        A pre-release counts as its release: nightly builds are let through.
        """
        sides = {"<", "<="} if upper else set(_HOLDS) - {"<", "<="}
        return not all(_HOLDS[sign](release(version), release(bound)) for sign, bound in self.bounds if sign in sides)


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version without trailing zeros: (2, 13) for "2.13.0+cpu"."""
    leading = re.match(r"v?(?:\d+!)?(\d+(?:\.\d+)*)", version)
    numbers = [int(number) for number in leading[1].split(".")] if leading else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def installed(name: str) -> str | None:
    """The installed version of a package, from its metadata; None if there is none."""
    try:
        return importlib.metadata.version(name) or "0"
    except (importlib.metadata.PackageNotFoundError, KeyError, ValueError):
        return None


def needs(package: str = "recipe") -> list[Need]:
    """What `package` requires; nothing of another one that is not installed.

    Of `recipe` in a checkout that is what its pyproject.toml says now, installed or not.
    """
    lines = _of_the_checkout() if package == "recipe" else None
    try:
        lines = importlib.metadata.requires(package) or [] if lines is None else lines
    except importlib.metadata.PackageNotFoundError:
        return []
    return [need for need in map(_need, lines) if need is not None]


def misfit() -> str | None:
    """A sentence about a torchvision built for another torch, with which diffusers cannot be imported."""
    vision, torch = installed("torchvision"), installed("torch")
    pins = [b for need in needs("torchvision") if need.name == "torch" for sign, b in need.bounds if sign == "=="]
    if vision is None or torch is None or not pins or release(pins[0])[:2] == release(torch)[:2]:
        return None
    return f"torchvision {shown(vision)} was built for torch {shown(pins[0])}, not for the installed {shown(torch)}"


def floors() -> None:
    """Stop where a run could only end in a library's traceback.

    Raises:
        EnvironmentFault: a package is missing or older than the floor, or torchvision does not fit torch.
    """
    faults, wanted = [], []
    for need in needs():
        version = None if need.optional else installed(need.name)
        if need.optional or (version is not None and not need.broken(version, upper=False)):
            continue
        faults.append(f"{need.name} is missing" if version is None else f"{need.name} {shown(version)} is too old")
        wanted.append(f'"{need.spelled}"')
    if faults:
        raise EnvironmentFault(f"{', '.join(faults)}: run  pip install --upgrade {' '.join(wanted)}")
    if sentence := misfit():
        raise EnvironmentFault(f"{sentence}, so diffusers cannot be imported: {MEND_TORCHVISION}")


def _of_the_checkout() -> list[str] | None:
    """The lines of the pyproject.toml beside the package; None where it was installed without."""
    try:
        project = tomllib.loads(_PROJECT.read_text("utf-8"))["project"]
        extras = project["optional-dependencies"].items()
        return [*project["dependencies"], *(f"{line}; extra == '{name}'" for name, lines in extras for line in lines)]
    except (OSError, ValueError, KeyError):
        return None


def _need(line: str) -> Need | None:
    found = _REQUIREMENT.fullmatch(line)
    if found is None:
        return None
    bounds = tuple((sign, bound) for sign, bound in _BOUND.findall(found["bounds"]))
    return Need(found["name"], bounds, optional="extra" in (found["marker"] or ""))
