"""Text whose tokens are coloured by a number each: the marks of pages and of notebooks.

The colour is the sign (plus: blue, minus: orange), its depth the size in [0, 1]; an underline grows
with a second number, for example the norm of an effect against a typical one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oocr.charts.figure import TokenMark, number


def token_marks(rows: Sequence[Mapping[str, Any]], typical_norm: float) -> tuple[TokenMark, ...]:
    """Marks of a text's tokens, from rows with token, in_span, cosine and norm."""
    inside = [bool(row["in_span"]) for row in rows] + [False]
    marks = []
    for place, row in enumerate(rows):
        cosine, token = float(row["cosine"]), str(row["token"])
        size = float(row["norm"]) / typical_norm
        marks.append(
            TokenMark(
                shown=visible(token),
                sign="plus" if cosine >= 0 else "minus",
                depth=round(100 * min(1.0, abs(cosine))),
                underline=max(0, min(6, round(2 * size))),
                note=f"“{token}”: cosine {number(cosine)}, norm {number(row['norm'])} "
                f"({number(size)} of the median)" + (", in the span" if inside[place] else ""),
                in_span=inside[place],
                begins=inside[place] and not (place and inside[place - 1]),
                ends=inside[place] and not inside[place + 1],
                newline="\n" in token,
            )
        )
    return tuple(marks)


def visible(token: str) -> str:
    """Line breaks get a sign; tokens of spaces only become dots."""
    shown = token.replace("\n", "⏎").replace("\t", "⇥")
    return shown if shown.strip() else "·" * max(1, len(shown))
