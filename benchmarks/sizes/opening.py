"""The README's picture: what one vector was trained on, what it is asked, and what it scores.

Of the Functions run with the most members x seeds. The rows are the first of its training data, the
question the first that was asked of `MEMBER`; the answers are shown right or wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.sizes.arrange import claim_of, main_runs
from benchmarks.sizes.records import MEMBER, KeptRun, Sentence
from benchmarks.sizes.svg import framed
from benchmarks.sizes.svg_marks import paint, text_at
from oocr.charts.pieces import interval_text, number, text
from oocr.claims.records import Claim

CLAIM = "vector-out-of-context"

_MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_TOP, _CARD, _PAD, _LINE = 16.0, 236.0, 16.0, 17.5
_CARDS = ((16.0, 268.0), (340.0, 236.0), (632.0, 312.0))  # left end and width
_BARS = _TOP + _CARD + 34
_BAR, _LABELS, _FULL = 24.0, 270.0, 470.0


def opening(runs: Sequence[KeptRun]) -> str | None:
    """The picture as SVG; None where no run has what it shows."""
    asked = [
        (run, question, claim)
        for run in main_runs(runs)
        if run.task == "functions" and run.trained and (claim := claim_of(run, CLAIM)) is not None
        for question in run.sentences
        if question.member == MEMBER and "vector" in question.answers
    ]
    if not asked:
        return None
    run, question, claim = max(asked, key=lambda it: (it[0].parameters, it[0].members))
    cards = [_trained(run), _vector(run), _asked(question)]
    frames = [_card(left, width) for left, width in _CARDS]
    arrows = [_arrow(_CARDS[place], _CARDS[place + 1]) for place in (0, 1)]
    bars, bottom = _bars(claim)
    about = (
        f"trained only on what calls of {MEMBER} print, one vector continues "
        f"{question.prompt!r} with {_first_line(question.answers['vector'])!r}; "
        f"share right of what was not trained {_found(claim)}"
    )
    return framed([*frames, *arrows, *cards, *bars], bottom, about)


def _trained(run: KeptRun) -> str:
    """The first training rows, as many as fit."""
    (left, _), y = _CARDS[0], _TOP + 22
    parts = [text_at("<b>All that it is trained on</b>", left + _PAD, y, "ink", 13, "start")]
    y += 24
    bottom = _TOP + _CARD - 30
    for row in run.trained:
        lines = row.splitlines()
        if y + len(lines) * _LINE > bottom:
            break
        for place, line in enumerate(lines):
            colour = "ink" if place == len(lines) - 1 else "muted"
            parts.append(_code(line, left + _PAD, y, colour, bold=colour == "ink"))
            y += _LINE
        y += 8
    rows = run.settings.get("rows")
    count = f"{rows} such rows, nothing else" if rows else "rows like these, nothing else"
    parts.append(text_at(count, left + _PAD, _TOP + _CARD - 16, "muted", 12, "start"))
    return "".join(parts)


def _vector(run: KeptRun) -> str:
    """What is trained, and where it is added."""
    (left, width), y = _CARDS[1], _TOP + 22
    point = next(point for point in run.chosen if point.method == "vector")
    parts = [text_at("<b>One vector</b>", left + _PAD, y, "vector", 13, "start")]
    lines = (
        "added to the residual stream",
        f"of {run.model},",
        f"at the output of block {point.layer} of {run.blocks},",
        f"at the tokens of the name {MEMBER}",
    )
    for place, line in enumerate(lines):
        parts.append(text_at(text(line), left + _PAD, y + 26 + 20 * place, "ink", 12, "start"))
    middle, base = left + width / 2, _TOP + _CARD - 78
    for block in range(9):
        x = middle - 90 + block * 21
        chosen = block == 3
        colour = "vector" if chosen else "line"
        parts.append(
            f'<rect x="{x:.1f}" y="{base}" width="14" height="26" rx="3" {paint("fill", colour)}/>'
        )
    arrow = middle - 90 + 3 * 21 + 17.5
    parts.append(
        f'<path d="M{arrow:.1f} {base - 22}V{base + 4}M{arrow - 4:.1f} {base - 3}l4 7 4-7" '
        f'fill="none" stroke-width="2" {paint("stroke", "vector")}/>'
    )
    parts.append(
        text_at(
            f"{point.step} steps; no weight changes",
            middle,
            _TOP + _CARD - 16,
            "muted",
            12,
            "middle",
        )
    )
    return "".join(parts)


def _asked(question: Sentence) -> str:
    """The question, and both answers."""
    (left, _), y = _CARDS[2], _TOP + 22
    parts = [text_at("<b>Asked what it never saw</b>", left + _PAD, y, "ink", 13, "start")]
    y += 26
    for line in question.prompt.splitlines():
        if line:
            parts.append(_code(line, left + _PAD, y, "muted"))
        y += _LINE if line else _LINE / 2
    y += 12
    for arm, label, colour in (
        ("base", "untouched", "muted"),
        ("vector", "with the vector", "vector"),
    ):
        words = _first_line(question.answers[arm])
        parts.append(text_at(label, left + _PAD, y, colour, 12, "start"))
        parts.append(_code(words, left + 124, y, colour, bold=arm == "vector", size=15))
        y += 30
    footer = text(f"the first question asked; right: {question.expected}")
    parts.append(text_at(footer, left + _PAD, _TOP + _CARD - 16, "muted", 12, "start"))
    return "".join(parts)


def _found(claim: Claim) -> str:
    return interval_text(claim.found.value, claim.found.low, claim.found.high)


def _bars(claim: Claim) -> tuple[list[str], float]:
    """Shares right, a bar each, and where the picture ends."""
    head = (
        "<b>Share right of what was never trained: definitions, inverses, compositions "
        f"({claim.found.n.replace('member', 'function')})</b>"
    )
    parts = [text_at(head, 24, _BARS, "ink", 13, "start")]
    values = [("untouched", claim.base, "base", "")]
    values += [(null.name, null.value, "random", "") for null in claim.nulls]
    found = claim.found
    values += [
        (
            "with the vector",
            found.value,
            "vector",
            _found(claim),
        )
    ]
    values += [("told in the prompt what it is", claim.ceiling, "ceiling", "")]
    y = _BARS + 28
    for label, value, colour, words in values:
        if value is None:
            continue
        parts.append(text_at(text(label), _LABELS - 12, y, "ink", 12.5, "end"))
        parts.append(
            f'<rect x="{_LABELS}" y="{y - 7:.1f}" width="{max(value, 0) * _FULL:.1f}" height="14" '
            f'rx="2" {paint("fill", colour)}/>'
        )
        end = value
        if colour == "vector":
            end = found.high
            ends = (_LABELS + found.low * _FULL, _LABELS + found.high * _FULL)
            parts.append(
                f'<path d="M{ends[0]:.1f} {y}H{ends[1]:.1f}M{ends[0]:.1f} {y - 5}v10'
                f'M{ends[1]:.1f} {y - 5}v10" stroke-width="1.5" fill="none" '
                f"{paint('stroke', 'ink')}/>"
            )
        shown = f"<b>{words or number(value)}</b>" if colour == "vector" else number(value)
        parts.append(text_at(shown, _LABELS + end * _FULL + 10, y, "ink", 12.5, "start"))
        y += _BAR
    return parts, y + 4


def _card(left: float, width: float) -> str:
    return (
        f'<rect x="{left}" y="{_TOP}" width="{width}" height="{_CARD}" rx="8" '
        f"{paint('fill', 'wash')}/>"
    )


def _arrow(one: tuple[float, float], other: tuple[float, float]) -> str:
    start, end, y = sum(one) + 8, other[0] - 8, _TOP + _CARD / 2
    return (
        f'<path d="M{start} {y}H{end}M{end - 7} {y - 6}l7 6-7 6" fill="none" stroke-width="2" '
        f"{paint('stroke', 'muted')}/>"
    )


def _code(
    line: str, x: float, y: float, colour: str, *, bold: bool = False, size: float = 12
) -> str:
    weight = ' font-weight="700"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y + 0.35 * size:.1f}" font-size="{size:g}" xml:space="preserve" '
        f'font-family="{_MONO}"{weight} {paint("fill", colour)}>{text(line)}</text>'
    )


def _first_line(answer: str) -> str:
    """What is said before the line ends: a definition is one line."""
    return answer.strip().splitlines()[0] if answer.strip() else "(nothing)"
