"""Tables for a terminal of 80 columns: verdicts of a run and of a paper's claims; paper scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich import box
from rich.console import Group
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from oocr.charts.arms import Arm
from oocr.charts.pieces import interval_text, number
from oocr.claims.page_claims import PaperVerdict
from oocr.claims.records import Claim, Estimate, Judged, Null, PaperReference, PaperScore
from oocr.report.verdicts import ICONS, second_name, who

STYLES = {
    "holds": "bold green",
    "holds in part": "bold yellow",
    "does not hold": "bold red",
    "cannot be tested": "bold",
}
LEFT = 23
"""Columns of a verdict, or of a number with its interval."""

_SHORT = {
    "random directions of its norm": "random",
    "pairs of random directions": "random pairs",
    "random directions": "random",
    "LoRAs of Gaussian noise": "LoRAs of noise",
    "the same share with the true trigger": "true trigger",
}


def verdict_table(claims: Sequence[Claim]) -> Group:
    """Per claim: verdict and number on the left; claim, references and nulls on the right."""
    return Group(*_ruled(_claim(claim) for claim in claims))


def claims_table(verdicts: Sequence[PaperVerdict]) -> Group:
    """Per claim of the paper: its words, then per task its verdict, number and highest null.

    Below them the reasons why something was not measured.
    """
    tables = []
    for _, same in groupby(verdicts, key=lambda verdict: verdict.id):
        tasks = list(same)
        table = Table.grid(padding=(0, 1))
        table.add_column(width=18, no_wrap=True)
        table.add_column(width=17)
        table.add_column(width=LEFT, justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
        for verdict in tasks:
            highest = max((null.value for null in verdict.nulls), default=None)
            null = "" if highest is None else f"null {number(highest)}"
            table.add_row(_verdict(verdict), verdict.subject, _number(verdict), Text(null, "dim"))
        reasons = dict.fromkeys(verdict.why for verdict in tasks if verdict.found is None)
        why = [Text(f"  {reason}", "dim") for reason in reasons]
        tables.append(Group(Text(tasks[0].says), table, *why))
    return Group(*_ruled(tables))


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
            f"{number(other.share)}, {number(other.second)} {_short_reference(other)}"
            for other in score.beside
        )
        table.add_row(
            Text.assemble(Arm(score.arm).label, (f"\n{who(score)}\n{score.share.n}", "dim")),
            _two_lines(score.share),
            _two_lines(score.second),
            Text(references or "–"),
        )
    return table


def _claim(claim: Claim) -> Table:
    known = {"base": claim.base, "ceiling": claim.ceiling}
    references = [f"{name} {number(value)}" for name, value in known.items() if value is not None]
    lines = [Text(claim.claim), Text(" · ".join([*references, claim.found.n]), "dim")]
    if claim.nulls:
        nulls = " · ".join(f"{_short(null)} {number(null.value)}" for null in claim.nulls)
        lines.append(Text(f"nulls: {nulls}", "dim"))
    table = Table.grid(padding=(0, 1))
    table.add_column(width=LEFT, no_wrap=True)
    table.add_column()
    table.add_row(Group(_verdict(claim), Text(_number(claim))), Group(*lines))
    return table


def _verdict(claim: Judged) -> Text:
    return Text(f"{ICONS[claim.verdict]} {claim.verdict}", style=STYLES[claim.verdict])


def _number(claim: Judged) -> str:
    estimate = claim.found
    if estimate is None:
        return "–"
    return interval_text(estimate.value, estimate.low, estimate.high)


def _short(null: Null) -> str:
    """A null's name without its statistic, which the report gives."""
    name = null.name.split(", ")[0].removesuffix(" training").lstrip("0123456789 ")
    for long, short in _SHORT.items():
        name = name.replace(long, short)
    return name


def _ruled(tables: Iterable[Table | Group]) -> Iterable[Table | Group | Rule]:
    yield Rule(style="dim")
    for table in tables:
        yield table
        yield Rule(style="dim")


def _two_lines(estimate: Estimate) -> Text:
    value, _, ends = interval_text(estimate.value, estimate.low, estimate.high).partition(" ")
    return Text(f"{value}\n{ends}")


def _short_reference(reference: PaperReference) -> str:
    name = reference.name.split(", ")[0].replace("random directions", "random")
    return name.replace("untouched model", "base").removesuffix(" training")
