"""The paper's scoring next to ours, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from oocr.charts.arms import Arm
from oocr.charts.figure import number
from oocr.claims.records import PaperReference, PaperScore

SUFFIX = " (paper's scoring)"
NOTE = (
    "The paper's own questions, scored as it does: an item counts if the right option's last "
    "token has the higher logit. No verdict: the items are few, and the untouched model's leaning "
    "decides many of them. They count in no other number."
)


def paper_table(scores: Sequence[PaperScore]) -> Table:
    """One line per arm and facet: share right and logit difference, beside their references."""
    table = Table(
        title="by the paper's own scoring (for comparison, no verdict)",
        title_justify="left",
        title_style="bold",
        box=box.HORIZONTALS,
        show_lines=True,
        pad_edge=False,
        padding=(0, 1),
        collapse_padding=True,
    )
    table.add_column("arm", min_width=18)
    table.add_column("share right", justify="right", no_wrap=True)
    table.add_column(second_name(scores), justify="right", min_width=13)
    table.add_column("beside it", min_width=21, max_width=28)
    for score in scores:
        references = "\n".join(
            f"{number(other.share)}, {number(other.second)} {_short(other)}"
            for other in score.beside
        )
        table.add_row(
            Text.assemble(Arm(score.arm).label, "\n", (f"{who(score)}\n{score.share.n}", "dim")),
            _interval(score.share.value, score.share.low, score.share.high),
            _interval(score.second.value, score.second.low, score.second.high),
            Text(references or "–"),
        )
    return table


def second_name(scores: Sequence[PaperScore]) -> str:
    """What the second number is."""
    return " / ".join(dict.fromkeys(score.second_is for score in scores))


def who(score: PaperScore) -> str:
    """Member and facet of a line, without what says nothing."""
    facet = score.facet.removeprefix("paper: ")
    return ", ".join(word for word in (score.member, facet) if word) or "all"


def _interval(value: float, low: float, high: float) -> Text:
    return Text(f"{number(value)}\n[{number(low)}, {number(high)}]")


def _short(reference: PaperReference) -> str:
    name = reference.name.split(", ")[0].replace("random directions", "random")
    return name.replace("untouched model", "base").removesuffix(" training")
