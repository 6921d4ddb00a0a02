"""`recipe doctor`: is this machine fit to run recipes, and where not, what mends it."""

from pathlib import Path

from runner.doctor.check import Check
from runner.doctor.versions import floors
from runner.shown import shown

__all__ = ["Check", "checks", "floors", "render"]


def checks(*, output_dir: Path, cache_dir: Path) -> list[Check]:
    """Look at everything: packages (each imported in a process of its own), devices, disks, hub, terminal.

    Takes about ten seconds, most of it for importing torch and diffusers. Changes nothing but to make a file in each
    folder and remove it at once.
    """
    from runner.doctor import hub, machine, packages

    found, device = packages.checks()
    return [
        *found,
        *machine.devices(device),
        machine.memory(),
        machine.disk("disk for outputs", output_dir, "--output-dir"),
        machine.disk("disk for the cache", cache_dir, "--cache-dir"),
        *hub.checks(),
        machine.terminal(),
    ]


def render(checks: list[Check]) -> str:
    """The checks as lines for people: mark, name, what was found, and under it the mend."""
    width = max((len(check.name) for check in checks), default=0)
    lines = []
    for check in checks:
        lines.append(f"{check.status:4}  {check.name:{width}}  {shown(check.found, 1000)}")
        if check.mend:
            lines.append(f"{'':4}  {'':{width}}  mend: {shown(check.mend, 1000)}")
    count = {status: sum(check.status == status for check in checks) for status in ("fail", "warn")}
    return "\n".join([*lines, "", _summary(count["fail"], count["warn"])])


def _summary(failed: int, warned: int) -> str:
    if not failed and not warned:
        return "All is well."
    faults = f"{failed} fault{'' if failed == 1 else 's'}"
    warnings = f"{warned} warning{'' if warned == 1 else 's'}"
    return f"{faults}, {warnings}." + ("" if failed else " Recipes will run.")
