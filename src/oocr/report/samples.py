"""Rows and questions with the steered and the loss-bearing tokens marked."""

from __future__ import annotations

from dataclasses import dataclass

from oocr.report.coloured import visible
from oocr.report.runs import Run
from oocr.runs.records import Sample, SampleToken
from oocr.steering.marked import directions_of

COLOURS = 4
"""As many directions are told apart; more take turns."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A token as the page shows it; `lines` are its text cut at line ends."""

    lines: tuple[str, ...]
    kind: str
    note: str


@dataclass(frozen=True, slots=True)
class Marked:
    """A sample: what it is, its tokens, and what a question expects."""

    title: str
    pieces: tuple[Piece, ...]
    expected: str


@dataclass(frozen=True, slots=True)
class MarkedSamples:
    """All samples, with the directions that are added in them."""

    samples: tuple[Marked, ...]
    directions: tuple[str, ...]


def marked_samples(run: Run) -> MarkedSamples | None:
    """The samples of a run, or None where it kept none."""
    if not run.samples:
        return None
    found = dict.fromkeys(
        name
        for sample in run.samples
        for token in sample.tokens
        for name in directions_of(token.steered)
    )
    names = tuple(found)
    return MarkedSamples(tuple(_marked(one, names) for one in run.samples), names)


def _marked(sample: Sample, names: tuple[str, ...]) -> Marked:
    what = "training row" if sample.part == "training" else "question"
    title = f"{what}, {sample.facet}" if sample.facet else what
    return Marked(title, tuple(_piece(one, names) for one in sample.tokens), sample.expected)


def _piece(token: SampleToken, names: tuple[str, ...]) -> Piece:
    lines = tuple(visible(token.text).split("\n"))
    kinds, notes = [], []
    if token.steered:
        place = names.index(directions_of(token.steered)[0]) % COLOURS
        kinds.append(f"steered steered-{place}")
        notes.append(f"steered ({token.steered})")
    if token.loss:
        kinds.append("loss")
        notes.append("bears loss")
    if token.special or (token.answer and not token.loss):
        kinds.append("faint")
    return Piece(lines, " ".join(kinds), ", ".join(notes))
