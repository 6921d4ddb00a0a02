"""What must never come out: the hub's tokens, and the secrets that this process's environment holds."""

import os
import re
from collections.abc import Callable

_SHORTEST = 8  # characters; a shorter value would hide harmless words everywhere
_LONGEST_WORD = 16  # so a plain word, such as POSTGRES_PASSWORD=postgres, is no secret
_HUB_TOKEN = r"hf_(?:(?:oauth|jwt)_[\w.-]{8,}|[A-Za-z0-9]{8,})"
_LOGIN = r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # of a proxy's or a mirror's address
_NAMES = ("TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "_PASS", "_PWD", "PASSPHRASE", "CREDENTIALS")


def redact(text: str) -> str:
    """`text` with `hf_***` for the hub's tokens, and `***` for logins and values of variables such as MY_KEY."""
    return _without(text, lambda found: "hf_***" if found[0].startswith("hf_") else "***")


def masked(text: str) -> str:
    """As `redact`, with a star for each letter, so that every column of the line stays where it is."""
    return _without(text, lambda found: "*" * len(found[0]))


def holds_token(text: str) -> bool:
    """Whether `text` has one of the hub's tokens in it."""
    return re.search(_HUB_TOKEN, text) is not None


def variable(text: str) -> str | None:
    """The name of an environment variable whose secret is in `text`; None where there is none."""
    return next((name for name, value in _secrets().items() if value in text), None)


def _without(text: str, instead: Callable[[re.Match[str]], str]) -> str:
    if len(text) < _SHORTEST:
        return text
    values = sorted(_secrets().values(), key=len, reverse=True)  # one may begin as another does
    return re.sub("|".join([*map(re.escape, values), _HUB_TOKEN, _LOGIN]), instead, text)


def _secrets() -> dict[str, str]:
    """The environment's secrets by the names of their variables."""
    return {n: value for n, value in os.environ.items() if n.upper().endswith(_NAMES) and _is_secret(value)}


def _is_secret(value: str) -> bool:
    word = value.isalpha() and value.islower() and len(value) < _LONGEST_WORD
    return len(value) >= _SHORTEST and not word
