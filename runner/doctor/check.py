"""One thing that the doctor looked at."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """What was found, and the mend where something is amiss.

    Attributes:
        name: what was looked at, such as "torch" or "disk for outputs".
        status: ok, warn (runs go, something will not) or fail (runs cannot go).
        found: in a few words.
        mend: what to do; empty where all is well.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    mend: str = ""
