"""The page of the paper's claims: verdicts first, then a section per topic with its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from oocr.charts.figure import Figure
from oocr.report.page import PageBlock, Section, write_page
from oocr.report.verdicts import VerdictRow, verdict_row
from oocr.reproduce.analyses import all_claims, analyses
from oocr.reproduce.analysis import Analysis
from oocr.reproduce.claims import PaperClaim, PaperVerdict
from oocr.reproduce.execute import PartResult

TITLE = "Does the paper hold here?"

SECTIONS = {
    "scores": "One layer, one vector: scores of all methods",
    "layers": "Which layers work",
    "constancy": "Is what a LoRA adds one constant vector?",
    "natural": "The natural vector, read off the LoRA",
    "readable": "What a direction says",
    "cosines": "How alike the vectors are",
    "lines": "Between two seeds, and by strength",
    "naive": "The naive vector",
    "backdoor": "Backdoors by one unconditional vector",
    "mechanism": "How many directions, and whether they are needed",
    "transfer": "What else a vector moves",
    "costs": "What the effect costs",
    "dynamics": "During training, and with other rows",
}
"""Section -> its title, in the paper's order. Others that claims name come last."""


@dataclass(frozen=True, slots=True)
class TaskVerdict:
    """A claim on one task; `row` has its picture where there is a number."""

    judged: PaperVerdict
    row: VerdictRow | None

    @property
    def kind(self) -> str:
        """The verdict as part of a class name."""
        return self.judged.verdict.replace(" ", "-")


@dataclass(frozen=True, slots=True)
class ClaimVerdicts:
    """A claim with its verdict on each task."""

    claim: PaperClaim
    verdicts: tuple[TaskVerdict, ...]


@dataclass(frozen=True, slots=True)
class DirectionReading:
    """What one direction says, by the logit lens or in the model's own words."""

    task: str
    by: str
    kind: str
    member: str
    place: str
    says: str


def build_page(results: Sequence[PartResult], out: Path, *, command: str) -> Path:
    """Write the page, and each figure's data as Parquet in `figures/` beside it.

    Args:
        results: every part of the plan with its analyses and verdicts.
        out: the HTML file.
        command: the command that made the page.

    Raises:
        RunError: the page cannot be written.
    """
    judged = [claim for part in results for claim in part.judged]
    by_claim = {claim.id: _verdicts(claim, judged) for claim in all_claims()}
    claims = [verdicts for verdicts in by_claim.values() if verdicts.verdicts]
    named = {verdicts.claim.section for verdicts in claims}
    order = [*SECTIONS, *sorted(named - set(SECTIONS))]
    sections = [
        Section(id, SECTIONS.get(id, id), parts=_parts(id, claims, results)).in_folder("figures/")
        for id in order
        if id in named
    ]
    values = {
        "title": TITLE,
        "claims": claims,
        "counts": Counter(claim.verdict for claim in judged),
        "models": list(dict.fromkeys(claim.model for claim in judged)),
    }
    return write_page(out, "reproduce.html", [*sections, _again(results, command)], values)


def _verdicts(claim: PaperClaim, judged: Sequence[PaperVerdict]) -> ClaimVerdicts:
    asked = [verdict for verdict in judged if verdict.id == claim.id]
    return ClaimVerdicts(
        claim, tuple(TaskVerdict(verdict, verdict_row(verdict)) for verdict in asked)
    )


def _parts(
    id: str, claims: Sequence[ClaimVerdicts], results: Sequence[PartResult]
) -> tuple[Figure | PageBlock, ...]:
    of_section = tuple(verdicts for verdicts in claims if verdicts.claim.section == id)
    parts: list[Figure | PageBlock | None] = [PageBlock("claims", of_section)]
    if id == "readable" and (readings := _readings(results)):
        parts.append(PageBlock("readings", readings))
    parts += [
        _figure(analysis, results) for analysis in analyses().values() if analysis.section == id
    ]
    return tuple(part for part in parts if part is not None)


def tables_of(results: Sequence[PartResult], name: str) -> dict[str, pl.DataFrame]:
    """An analysis's tables by part."""
    tables: dict[str, pl.DataFrame] = {}
    for result in results:
        table = result.analyses[name][1] if name in result.analyses else None
        if table is not None and len(table):
            part = result.part
            tables[part.about if part.kind in tables else part.kind] = table
    return tables


def _figure(analysis: Analysis, results: Sequence[PartResult]) -> Figure | None:
    tables = [tables_of(results, name) for name in (analysis.name, *analysis.more_tables)]
    return analysis.figure(*tables) if analysis.figure is not None and any(tables) else None


def _readings(results: Sequence[PartResult]) -> tuple[DirectionReading, ...]:
    readings = []
    for name, by in (("readable", "LM head"), ("described", "the model")):
        for task, table in tables_of(results, name).items():
            first = table.filter(pl.col("seed") == 0)
            if name == "readable":
                first = first.filter(pl.col("reading") == "raw")
            for row in first.iter_rows(named=True):
                place = f"{row['rank'] + 1} of {row['concepts']}"
                readings.append(
                    DirectionReading(task, by, row["kind"], row["member"], place, row["says"])
                )
    return tuple(readings)


def _again(results: Sequence[PartResult], command: str) -> Section:
    folders = dict.fromkeys(folder for result in results for folder in result.folders)
    runs = [f"oocr run {folder / 'config.yaml'} --out {folder.parent}" for folder in folders]
    commands = (
        ("Everything, or what is missing of it:", command),
        ("Each run by itself; its folder has its own report:", *runs),
    )
    title = "The runs, and how to run them again"
    return Section("again", title, parts=(PageBlock("commands", commands),))
