"""What must never come out: the hub's tokens, and the secrets that this process's environment holds."""

import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

_SHORTEST = 8  # characters; a shorter value would hide harmless words everywhere
# POSTGRES_PASSWORD=postgres and SORT_KEY=learning_rate are no secrets, nor is SHARD_KEY=20240131.
_PLAIN = re.compile(r"[a-z]{1,15}|(?=.{1,31}$)[a-z]+(_[a-z]+)+|[0-9]+")
_HUB_TOKEN = r"hf_(?:(?:oauth|jwt)_[\w.-]{8,}|[A-Za-z0-9]{8,})"
_LOGIN = r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # of a proxy's or a mirror's address
_NAMES = ("TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "_PASS", "_PWD", "PASSPHRASE", "CREDENTIALS")


def redact(text: str) -> str:
    """`text` with `hf_***` for the hub's tokens, and `***` for logins and values of variables such as MY_KEY."""
    return _without(text, lambda found: "hf_***" if found[0].startswith("hf_") else "***")


def masked(text: str) -> str:
    """As `redact`, with a star for each letter, so that every column of the line stays where it is."""
    return _without(text, lambda found: "*" * len(found[0]))


def hidden(value: Any) -> Any:
    """Plain data with `redact` done to its texts; of its keys, only the hub's tokens are hidden."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {re.sub(_HUB_TOKEN, "hf_***", key): hidden(inner) for key, inner in value.items()}
    return [hidden(inner) for inner in value] if isinstance(value, list) else value


def holds_token(text: str) -> bool:
    """Whether `text` has one of the hub's tokens in it."""
    return re.search(_HUB_TOKEN, text) is not None


def variable(text: str) -> str | None:
    """The name of an environment variable whose secret is in `text`; None where there is none."""
    return next((name for name, value in _secrets() if value in text), None)


def _without(text: str, instead: Callable[[re.Match[str]], str]) -> str:
    if len(text) < _SHORTEST:
        return text
    values = {form for _, value in _secrets() for form in _forms(value)}
    longest = sorted(values, key=len, reverse=True)  # one may begin as another does
    return re.sub("|".join([*map(re.escape, longest), _HUB_TOKEN, _LOGIN]), instead, text)


def _secrets() -> Iterator[tuple[str, str]]:
    """The environment's secrets with the names of their variables; of one of several lines, each line as well."""
    for name, value in os.environ.items():
        if name.upper().endswith(_NAMES):
            yield from ((name, part) for part in {value, *value.splitlines()} if _is_secret(part))


def _forms(value: str) -> set[str]:
    """A value as it is, and as it stands between quotes in JSON and YAML."""
    return {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], value.replace("'", "''")}


def _is_secret(value: str) -> bool:
    return len(value) >= _SHORTEST and not _PLAIN.fullmatch(value)
