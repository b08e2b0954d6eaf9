"""The page of the paper's claims: verdicts first, then a section per topic with its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from oocr.charts.figure import Figure
from oocr.report.page import sections_with_files, write_page
from oocr.reproduce.analyses import all_claims, analyses
from oocr.reproduce.analysis import Analysis
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


def build_page(results: Sequence[PartResult], out: Path, *, command: str) -> Path:
    """Write the page `out`, which names its `command`, and figures' data in `figures/` beside it.

    RunError: the page cannot be written.
    """
    judged = [verdict for result in results for verdict in result.judged]
    verdicts = [(claim, [v for v in judged if v.id == claim.id]) for claim in all_claims()]
    claims = [(claim, on_tasks) for claim, on_tasks in verdicts if on_tasks]
    named = {claim.section for claim, _ in claims}
    order = [*SECTIONS, *sorted(named - set(SECTIONS))]
    figures = {
        id: [
            _figure(analysis, results) for analysis in analyses().values() if analysis.section == id
        ]
        for id in order
        if id in named
    }
    sections = sections_with_files(figures)
    values = {
        "title": TITLE,
        "titles": {id: SECTIONS.get(id, id) for id in figures},
        "claims": claims,
        "sections": sections,
        "readings": _readings(results),
        "counts": Counter(verdict.verdict for verdict in judged),
        "models": list(dict.fromkeys(verdict.model for verdict in judged)),
        "command": command,
        "folders": list(dict.fromkeys(folder for result in results for folder in result.folders)),
    }
    parts = [figure for figures in sections.values() for figure in figures]
    return write_page(out, "reproduce.html", parts, values)


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


def _readings(results: Sequence[PartResult]) -> list[tuple[str, str, dict[str, Any]]]:
    """What each direction of seed 0 says: the task, who reads it, and the table's row."""
    return [
        (task, by, row)
        for name, by in (("readable", "LM head"), ("described", "the model"))
        for task, table in tables_of(results, name).items()
        for row in table.filter(pl.col("seed") == 0).iter_rows(named=True)
        if name == "described" or row["reading"] == "raw"
    ]
