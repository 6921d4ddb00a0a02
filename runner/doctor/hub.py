"""The hub: asked for or not, reachable, and as whom. Tokens are never shown."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner.doctor.check import Check
from runner.shown import shown

_PATIENCE_S = 5.0
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_TRUE = {"1", "ON", "YES", "TRUE"}  # as huggingface_hub reads them


def checks() -> list[Check]:
    """One check of the connection and login, and one for each setting in the environment that needs a word."""
    return [_connection(), *_settings()]


def _connection() -> Check:
    offline = [name for name in _OFFLINE if os.environ.get(name, "").upper() in _TRUE]
    try:
        from huggingface_hub import constants, get_session, get_token
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]
    except Exception as error:
        return Check("hub", "warn", f"unknown: huggingface_hub cannot be imported ({type(error).__name__})", "mend it")
    token = get_token()
    login = "a token is present" if token else "no token: public models and data only"
    if offline:
        return Check("hub", "ok", f"not asked, since {offline[0]} is set; {login}")
    path = "/api/whoami-v2" if token else "/api/models?limit=1"
    try:
        headers = build_hf_headers(token=token or False)
        answer = get_session().get(constants.ENDPOINT + path, headers=headers, timeout=_PATIENCE_S)
        status, name = answer.status_code, _name(answer) if token else None
    except Exception as error:  # whichever client and whichever fault: it cannot be reached
        mend = "check network and proxy; without a network use folders, --smoke or --offline"
        return Check("hub", "warn", f"{constants.ENDPOINT} cannot be reached ({type(error).__name__}); {login}", mend)
    if token and status in (401, 403):
        return Check("hub", "warn", "the token is refused", "run  hf auth login  for a new one, or  hf auth logout")
    if status >= 400:
        return Check("hub", "warn", f"{constants.ENDPOINT} answers {status}; {login}", "try again later")
    return Check("hub", "ok", f"reachable, logged in as {shown(name)}" if name else f"reachable, {login}")


def _name(answer: Any) -> str:
    try:
        return str(answer.json()["name"])
    except (ValueError, KeyError, TypeError):
        return "?"


def _settings() -> Iterator[Check]:
    token = os.environ.get("HF_TOKEN", "")
    if token and (token != token.strip() or any(letter.isspace() for letter in token)):
        yield Check("HF_TOKEN", "warn", "has blanks or line ends in it", "set it again without them")
    endpoint = os.environ.get("HF_ENDPOINT")
    if endpoint:
        mend = "" if endpoint.startswith("https://") else "a token would travel unprotected: use https"
        yield Check("HF_ENDPOINT", "warn" if mend else "ok", f"another hub is used: {endpoint}", mend)
    if os.environ.get("HF_HUB_ENABLE_HF_TRANSFER"):
        yield Check("HF_HUB_ENABLE_HF_TRANSFER", "warn", "has no effect any more", "set HF_XET_HIGH_PERFORMANCE=1")
    for name in ("HF_HOME", "HF_HUB_CACHE"):
        place = os.environ.get(name)
        if place and Path(place).exists() and not os.access(place, os.W_OK):
            yield Check(
                name, "warn", f"{place} cannot be written", "models and data cannot be downloaded: mend or unset it"
            )
