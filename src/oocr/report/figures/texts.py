"""Real text, each token coloured by the LoRA's effect there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from oocr.charts.figure import Figure, number
from oocr.report.runs import Run, as_float, has

_NEEDED = ("arm", "member", "text", "kind", "position", "token", "in_span", "cosine", "norm")


@dataclass(frozen=True, slots=True)
class Token:
    """A token as the page shows it.

    Attributes:
        shown: its text, with a visible sign where it is only white space.
        sign: "plus" or "minus", of the cosine.
        depth: size of the cosine in percent.
        line: thickness of the underline in pixels, by the norm.
        note: read out when the token is pointed at.
        begins, ends: the span starts or ends here.
    """

    shown: str
    sign: str
    depth: int
    line: int
    note: str
    in_span: bool
    begins: bool
    ends: bool
    newline: bool


@dataclass(frozen=True, slots=True)
class Text:
    """One text under one arm."""

    kind: str
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Colouring:
    """All texts under one arm."""

    arm: str
    label: str
    texts: tuple[Text, ...]


def coloured(run: Run) -> tuple[Colouring, ...]:
    """Every arm's texts, in the order of the table."""
    if not has(run.tokens, *_NEEDED):
        return ()
    assert run.tokens is not None
    found = []
    for (arm, member), rows in run.tokens.group_by("arm", "member", maintain_order=True):
        middle = as_float(rows["norm"].drop_nans().median())
        if not middle > 0:  # no effect at all, or no number
            middle = 1.0
        texts = tuple(
            Text(str(kind), tokens_of(some.sort("position").to_dicts(), middle))
            for (kind, _), some in rows.group_by("kind", "text", maintain_order=True)
        )
        label = str(member) if str(member) in str(arm) else f"{member} ({arm})"
        found.append(Colouring(str(arm), label, texts))
    labels = [one.label for one in found]
    return tuple(
        one if labels.count(one.label) == 1 else Colouring(one.arm, one.arm, one.texts)
        for one in found
    )


def tokens_figure(run: Run) -> Figure | None:
    """No plot of its own: the table behind the coloured texts, to be written beside the page."""
    if not coloured(run) or run.tokens is None:
        return None
    caption = (
        "Each token's colour is the signed cosine of the LoRA's effect there with the mean effect "
        "at the span; the underline grows with the size of the effect, against the median of the "
        "arm's tokens; the span is outlined. Point at a token for its numbers."
    )
    return Figure("tokens", caption, (), run.tokens)


def tokens_of(rows: list[dict[str, Any]], middle: float) -> tuple[Token, ...]:
    """A text's tokens, from rows with token, in_span, cosine and norm; `middle` is a usual norm."""
    inside = [bool(row["in_span"]) for row in rows]
    found = []
    for place, row in enumerate(rows):
        cosine = float(row["cosine"])
        size = float(row["norm"]) / middle
        token = str(row["token"])
        found.append(
            Token(
                shown=visible(token),
                sign="plus" if cosine >= 0 else "minus",
                depth=round(100 * min(1.0, abs(cosine))),
                line=max(0, min(6, round(2 * size))),
                note=f"“{token}”: cosine {number(cosine)}, norm {number(row['norm'])} "
                f"({number(size)} of the median)" + (", in the span" if inside[place] else ""),
                in_span=inside[place],
                begins=inside[place] and not (place and inside[place - 1]),
                ends=inside[place] and not (place + 1 < len(rows) and inside[place + 1]),
                newline="\n" in token,
            )
        )
    return tuple(found)


def visible(token: str) -> str:
    """Line breaks get a sign; tokens of spaces only become dots."""
    shown = token.replace("\n", "⏎").replace("\t", "⇥")
    return shown if shown.strip() else "·" * max(1, len(shown))
