"""Tokens with marks: the steered ones and those that bear loss, for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from oocr.runs.records import Sample
from oocr.steering.token_roles import Token, directions_of, whole_characters

STEERED = ("black on yellow", "black on cyan", "black on magenta", "white on blue")  # in turn

LOSS = "bold underline"
_SIGNS = "‹›«»\\⏎⇥"


def without_colour(console: Console) -> bool:
    """Whether colours would not be seen: not a terminal, a dumb one, or NO_COLOR is set."""
    return console.color_system is None or console.no_color


def coloured(
    tokens: Sequence[Token], directions: Sequence[str] = (), *, plain: bool = False
) -> Text:
    r"""Every token, the steered and the loss-bearing ones marked, with `|` between those.

    Line ends are `⏎`, other signs that don't print are escaped (`\x1b`). `directions` are the names
    of all of them, so that each keeps its colour. With `plain`, marks are brackets: ‹steered›,
    «loss», ‹«both»›, of several directions with the name; signs of the text that are also marks
    then stand after a backslash.
    """
    names = list(directions) or list(dict.fromkeys(t.steered for t in tokens if t.steered))
    text = Text()
    for (steered, loss, dim), run in groupby(whole_characters(tokens), key=_kind):
        style = _style(steered, loss, names) or ("dim" if dim else "")
        pieces = [with_signs(token.text, plain=plain) for token in run]
        if plain and (steered or loss):
            pieces = [piece.replace("|", "\\|") for piece in pieces]
        if not (steered or loss):
            text.append("".join(pieces), style)
            continue
        if plain:
            named = f"{steered}: " if steered and len(names) > 1 else ""
            before = (f"‹{named}" if steered else "") + ("«" if loss else "")
            after = ("»" if loss else "") + ("›" if steered else "")
            text.append(before + "|".join(pieces) + after)
            continue
        for number, piece in enumerate(pieces):
            text.append("|" if number else "", f"dim {style}")
            text.append(piece, style)
    return text


def legend(directions: Sequence[str] = (), *, plain: bool = False, loss: bool = True) -> Text:
    """What the marks of `coloured` mean; without directions, nothing is steered."""
    parts: list[Text] = []
    for name in directions:
        if plain:
            parts.append(Text(f"‹{name}: steered›" if len(directions) > 1 else "‹steered›"))
        else:
            where = f"steered ({name})" if len(directions) > 1 else "steered"
            parts.append(Text(where, _style(name, False, directions)))
    if loss:
        parts.append(Text("«bears loss»") if plain else Text("bears loss", _style("", True, ())))
    if loss and directions:
        both = _style(directions[0], True, directions)
        parts.append(Text("‹«both»›") if plain else Text("both", both))
    parts.append(Text("| next token   ⏎ line end", "" if plain else "dim"))
    return Text("   ").join(parts)


def with_signs(text: str, *, plain: bool = False) -> str:
    """Text with signs for what doesn't print; `plain` also escapes the marks of `coloured`."""
    return "".join(_sign(letter, plain) for letter in text)


def _sign(letter: str, plain: bool) -> str:
    if letter == "\n":
        return "⏎\n"
    if letter == "\t":
        return "⇥"
    if not letter.isprintable():
        return letter.encode("unicode_escape").decode()
    return f"\\{letter}" if plain and letter in _SIGNS else letter


def _kind(token: Token) -> tuple[str, bool, bool]:
    return token.steered, token.loss, token.special or (token.answer and not token.loss)


def _style(steered: str, loss: bool, names: Sequence[str]) -> str:
    if not steered:
        return f"{LOSS} green" if loss else ""
    first = steered.split("+")[0]
    place = list(names).index(first) if first in names else 0
    colour = STEERED[place % len(STEERED)]
    return f"{LOSS} {colour}" if loss else colour


def directions_in(samples: Sequence[Sample]) -> list[str]:
    """The directions that are added in them, each once."""
    positions = (token.steered for sample in samples for token in sample.tokens)
    return list(dict.fromkeys(name for each in positions for name in directions_of(each)))


def page_token(token: Token, directions: Sequence[str]) -> tuple[list[str], str, str]:
    """A token on a page: its text cut at line ends, its CSS classes, and its title."""
    kinds, notes = [], []
    if token.steered:
        place = directions.index(directions_of(token.steered)[0]) % len(STEERED)
        kinds.append(f"steered steered-{place}")
        notes.append(f"steered ({token.steered})")
    if token.loss:
        kinds.append("loss")
        notes.append("bears loss")
    if token.special or (token.answer and not token.loss):
        kinds.append("faint")
    return with_signs(token.text).split("\n"), " ".join(kinds), ", ".join(notes)
