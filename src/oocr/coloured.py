"""Tokens in colour, by what they are: prompt, a steered span, or answer that carries loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.text import Text

STYLES = {"prompt": "dim", "answer": "bold green"}
SPANS = ("black on yellow", "black on cyan", "black on magenta")
"""Styles of spans, in the order of their first token."""


def coloured(tokens: Sequence[tuple[str, str]], *, plain: bool = False) -> Text:
    """Every token in the colour of its role, with `|` between tokens and `↵` for a line's end.

    Args:
        tokens: pieces of text with their roles ("prompt", a span's name, "answer").
        plain: no colours will be shown: roles other than "prompt" are written out in brackets.
    """
    styles = _styles(role for _, role in tokens)
    text = Text()
    for role, run in groupby(tokens, key=lambda pair: pair[1]):
        pieces = [piece.replace("\n", "↵\n") for piece, _ in run]
        marked = plain and role != "prompt"
        text.append(f"[{role}: " if marked else "|" if len(text) else "", "dim")
        for number, piece in enumerate(pieces):
            text.append("|" if number else "", "dim")
            text.append(piece, styles[role])
        text.append("]" if marked else "", "dim")
    return text


def legend(roles: Iterable[str]) -> Text:
    """What the colours mean."""
    text = Text("  ").join(Text(role, style) for role, style in _styles(roles).items())
    return Text.assemble("colours: ", text, " (the answer's tokens carry the loss)")


def _styles(roles: Iterable[str]) -> dict[str, str]:
    styles: dict[str, str] = {}
    spans = 0
    for role in dict.fromkeys(roles):
        styles[role] = STYLES.get(role) or SPANS[spans % len(SPANS)]
        spans += role not in STYLES
    return styles
