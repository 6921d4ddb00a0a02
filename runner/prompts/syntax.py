"""The prompt syntax of web UIs, read into pieces of text with weights.

The syntax is that of AUTOMATIC1111's stable-diffusion-webui: modules/prompt_parser.py, parse_prompt_attention.

    (text)          weight times 1.1                 \\( \\) \\[ \\] \\\\     the characters themselves
    [text]          weight divided by 1.1            BREAK               what follows goes into a new chunk of 77 tokens
    (text:1.3)      weight times 1.3

Brackets nest and multiply. One that is never closed reaches to the end; one that was never opened is text.
Three things differ on purpose: a BREAK within brackets breaks there too (theirs draws the word), a backslash makes any
character after it plain, and an empty piece of text is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby

from runner.shown import shown

_TOKEN = re.compile(
    r"""\\(?P<escaped>.?)
      | (?P<opening>[(\[])
      | (?::\s*(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))\s*)?(?P<closing>[)\]])
      | (?P<text>[^\\()\[\]:]+|:)""",
    re.VERBOSE | re.DOTALL,
)
_FACTORS = {"(": 1.1, "[": 1 / 1.1}
_OPENING = {")": "(", "]": "["}
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_TAG = re.compile(r"<(lora|lyco|hypernet):([^<>:]*)(?::([^<>]*))?>", re.IGNORECASE)
_AND = re.compile(r"\bAND\b")
_NUMBER = re.compile(r"[+-]?[0-9.]+")
_HEAVIEST = 100.0


@dataclass(frozen=True)
class Fragment:
    """A piece of a prompt; the weight of plain text is 1."""

    text: str
    weight: float


@dataclass
class _Piece:
    """A fragment whose weight still grows; `text` is None for a BREAK."""

    text: str | None
    weight: float = 1.0


@dataclass
class _Bracket:
    """An open bracket: its kind, the number of pieces before it, where it stands, and whether a | is in it."""

    kind: str
    first: int
    place: int
    alternates: bool = False


def problem(prompt: str) -> str | None:
    """What of `prompt` cannot be drawn, as one sentence with the mend; None if all can."""
    try:
        parse(prompt)
    except ValueError as error:
        return str(error)
    return None


def parse(prompt: str) -> list[list[Fragment]]:
    """The fragments of each part of a prompt; BREAK stands between the parts.

    Neighbours of one weight are one fragment. A part without text is an empty list; there is always one part.

    Raises:
        ValueError: what `problem` says: prompt editing, a <lora:...> tag, AND, or a weight beyond 100.
    """
    _refuse_words(prompt)
    pieces: list[_Piece] = []
    opened: list[_Bracket] = []
    for token in _TOKEN.finditer(prompt):
        if token["opening"]:
            opened.append(_Bracket(token["opening"], len(pieces), token.start()))
        elif token["closing"]:
            _close(token, opened, pieces)
        elif token["text"]:
            if "|" in token["text"] and opened:
                opened[-1].alternates = True
            pieces += _broken(token["text"])
        else:
            pieces.append(_Piece(token["escaped"]))
    for bracket in opened:
        _multiply(pieces[bracket.first :], _FACTORS[bracket.kind])
    return _parts(pieces)


def _close(token: re.Match[str], opened: list[_Bracket], pieces: list[_Piece]) -> None:
    """Closes the last open bracket of the token's kind; without one the token is text."""
    kind = _OPENING[token["closing"]]
    bracket = next((bracket for bracket in reversed(opened) if bracket.kind == kind), None)
    if bracket is None:
        pieces.append(_Piece(token[0]))
        return
    if kind == "[" and (bracket.alternates or token["number"]):
        raise ValueError(_editing(token.string[bracket.place : token.end()]))
    opened.remove(bracket)
    _multiply(pieces[bracket.first :], float(token["number"]) if token["number"] else _FACTORS[kind])


def _multiply(pieces: list[_Piece], factor: float) -> None:
    for piece in pieces:
        piece.weight *= factor


def _broken(text: str) -> list[_Piece]:
    """Text, with each BREAK in it on its own."""
    first, *others = _BREAK.split(text)
    return [_Piece(first), *(piece for other in others for piece in (_Piece(None), _Piece(other)))]


def _parts(pieces: list[_Piece]) -> list[list[Fragment]]:
    parts: list[list[_Piece]] = [[]]
    for piece in pieces:
        if piece.text is None:
            parts.append([])
        elif piece.text:
            parts[-1].append(piece)
    while len(parts) > 1 and not parts[-1]:  # a BREAK at the end begins nothing
        parts.pop()
    return [_merged(part) for part in parts]


def _merged(pieces: list[_Piece]) -> list[Fragment]:
    """Neighbours of one weight as one fragment."""
    groups = groupby(pieces, key=lambda piece: piece.weight)
    fragments = [Fragment("".join(piece.text or "" for piece in group), weight) for weight, group in groups]
    for fragment in fragments:
        if not abs(fragment.weight) <= _HEAVIEST:
            raise ValueError(
                f"the weight of {shown(fragment.text, 60)!r} is {fragment.weight:.6g}: write 100 or less "
                "(0.5 to 1.5 is what models bear)"
            )
    return fragments


def _editing(found: str) -> str:
    inner = found[1:-1].rpartition(":")[0].strip()
    number = _NUMBER.fullmatch(found[1:-1].rpartition(":")[2].strip())
    mend = f"for a weight write ({shown(inner, 40)}:{number[0]})" if number and inner and ":" not in inner else ""
    return (
        f"prompt editing as in {shown(found, 60)!r} is not supported, the text stays the same for all steps: "
        f"{mend or 'choose one of the texts'}, or \\[ and \\] for the characters"
    )


def _refuse_words(prompt: str) -> None:
    if tag := _TAG.search(prompt):
        kind, name, weight = tag[1].lower(), shown(tag[2], 60), tag[3]
        if kind == "hypernet":
            raise ValueError(f"hypernetworks are not supported: take {shown(tag[0], 80)!r} out of the prompt")
        written = f", weight: {weight}" if weight and _NUMBER.fullmatch(weight) else ""
        raise ValueError(
            f"a prompt loads no LoRA: take {shown(tag[0], 80)!r} out of it and write "
            f"model.loras: [{{id: {name}.safetensors{written}}}]"
        )
    if _AND.search(prompt):
        raise ValueError("AND between prompts (composition) is not supported: write and in small letters")
