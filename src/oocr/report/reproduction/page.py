"""The page of the paper's claims: verdicts first, then a section per claim with its figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from markupsafe import Markup

from oocr.charts.figure import Figure
from oocr.claims.records import Claim
from oocr.io import write_atomic, write_text
from oocr.report.build import environment, own_file
from oocr.report.reproduction.figures import FIGURES
from oocr.report.reproduction.scores import naive_figure
from oocr.report.verdicts import Row, verdict_rows
from oocr.reproduce.paper_claim import PaperClaim
from oocr.reproduce.paper_claims import CLAIMS
from oocr.reproduce.part_result import PartResult
from oocr.reproduce.records import Judged
from oocr.stats import FEW

TITLE = "Does the paper hold here?"

SECTIONS = {
    "scores": ("One layer, one vector: scores of all methods", ("methods",)),
    "layers": ("Which layers work", ("layers",)),
    "constancy": ("Is what a LoRA adds one constant vector?", ("pairs",)),
    "natural": ("The natural vector, read off the LoRA", ("natural",)),
    "readable": ("What a direction says", ()),
    "cosines": ("How alike the vectors are", ("cosines",)),
    "lines": ("Between two seeds, and by strength", ("lines",)),
    "naive": ("The naive vector", ()),
    "backdoor": ("Backdoors by one unconditional vector", ("reads", "attention")),
    "mechanism": (
        "How many directions, and whether they are needed",
        ("directions", "ranks", "relearned"),
    ),
    "transfer": ("What else a vector moves", ("specificity", "narrow")),
    "costs": ("What the effect costs", ("costs",)),
    "dynamics": ("Along training, and with other rows", ("dynamics", "mixing")),
}
"""Section -> its title and the analyses whose figures it has, in the paper's order."""


@dataclass(frozen=True, slots=True)
class Line:
    """A claim on one task; `row` has its picture where there is a number."""

    judged: Judged
    row: Row | None

    @property
    def kind(self) -> str:
        """The verdict as part of a class name."""
        return self.judged.verdict.replace(" ", "-")


@dataclass(frozen=True, slots=True)
class Asked:
    """A claim with what came of it, task by task."""

    claim: PaperClaim
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """What one direction says, by the logit lens or in the model's own words."""

    subject: str
    by: str
    kind: str
    member: str
    place: str
    says: str


@dataclass(frozen=True, slots=True)
class Section:
    """Claims with their figures."""

    id: str
    title: str
    asked: tuple[Asked, ...]
    figures: tuple[Figure, ...] = ()
    said: tuple[Said, ...] = ()


def build_page(answered: Sequence[PartResult], out: Path, *, command: str) -> Path:
    """Write the page, and each figure's data as Parquet in `figures/` beside it.

    Args:
        answered: every part of the plan with what was found.
        out: the HTML file.
        command: how it was asked for.

    Raises:
        RunError: the page cannot be written.
    """
    from plotly.offline import get_plotlyjs

    judged = [one for part in answered for one in part.judged]
    sections = [_filed(one) for one in _sections(answered, judged)]
    by_claim = {one.claim.id: one for section in sections for one in section.asked}
    asked = [by_claim[claim.id] for claim in CLAIMS if claim.id in by_claim]
    counts = Counter(one.verdict for one in judged)
    page = (
        environment()
        .get_template("reproduce.html")
        .render(
            title=TITLE,
            asked=asked,
            sections=sections,
            counts=counts,
            parts=answered,
            models=list(dict.fromkeys(one.model for one in judged)),
            command=command,
            few=FEW,
            runs=_runs(answered),
            css=own_file("page.css"),
            js=own_file("page.js"),
            plotly=Markup(get_plotlyjs()),
        )
    )
    for section in sections:
        for figure in section.figures:
            write_atomic(out.parent / figure.file, figure.data.write_parquet)
    return write_text(out, page)


def _sections(answered: Sequence[PartResult], judged: Sequence[Judged]) -> list[Section]:
    found = []
    for id, (title, analyses) in SECTIONS.items():
        asked = tuple(
            Asked(claim, tuple(_line(one) for one in judged if one.id == claim.id))
            for claim in CLAIMS
            if claim.section == id
        )
        asked = tuple(one for one in asked if one.lines)
        if not asked:
            continue
        figures = [_figure(name, answered) for name in analyses]
        said = tuple(_said(answered)) if id == "readable" else ()
        some = tuple(one for one in figures if one is not None)
        found.append(Section(id, title, asked, some, said))
    return found


def tables_of(answered: Sequence[PartResult], name: str) -> dict[str, pl.DataFrame]:
    """An analysis's tables by part."""
    found: dict[str, pl.DataFrame] = {}
    for one in answered:
        table = one.analyses[name][1] if name in one.analyses else None
        if table is not None and len(table):
            label = one.part.kind if one.part.kind not in found else one.part.about
            found[label] = table
    return found


def _figure(name: str, answered: Sequence[PartResult]) -> Figure | None:
    if name == "natural":
        some = (tables_of(answered, one) for one in ("natural", "naive", "methods"))
        return naive_figure(*some)
    tables = tables_of(answered, name)
    return FIGURES[name](tables) if tables else None


def _line(judged: Judged) -> Line:
    if judged.found is None:
        return Line(judged, None)
    claim = Claim(
        id=judged.id,
        claim=judged.says,
        measure=judged.measure,
        found=judged.found,
        base=judged.base,
        nulls=judged.nulls,
        ceiling=judged.ceiling,
        verdict=judged.verdict,
        rule=judged.rule,
        command=judged.command,
    )
    return Line(judged, verdict_rows([claim])[0])


def _said(answered: Sequence[PartResult]) -> list[Said]:
    found = []
    for name, by in (("readable", "LM head"), ("described", "the model")):
        for subject, table in tables_of(answered, name).items():
            some = table.filter(pl.col("seed") == 0)
            if name == "readable":
                some = some.filter(pl.col("reading") == "raw")
            for row in some.iter_rows(named=True):
                place = f"{row['rank'] + 1} of {row['concepts']}"
                found.append(Said(subject, by, row["kind"], row["member"], place, row["says"]))
    return found


def _runs(answered: Sequence[PartResult]) -> list[tuple[str, str]]:
    """Name of a run's folder, and the command that does it again."""
    folders = dict.fromkeys(folder for one in answered for folder in one.folders)
    return [(one.name, f"oocr run {one / 'config.yaml'} --out {one.parent}") for one in folders]


def _filed(section: Section) -> Section:
    figures = tuple(replace(one, file=f"figures/{one.name}.parquet") for one in section.figures)
    return replace(section, figures=figures)
