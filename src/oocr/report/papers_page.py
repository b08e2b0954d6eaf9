"""The page of a paper (`oocr reproduce --paper`): verdicts first, then a section per topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from oocr.charts.figure import Figure
from oocr.papers.execute import ExperimentResult
from oocr.papers.paper import AnyExperiment, Paper, Summary
from oocr.report.page import sections_with_files, write_page


def build_paper_page(
    paper: Paper, results: Sequence[ExperimentResult], out: Path, *, command: str
) -> Path:
    """Write the page `out`, which names its `command`, and figures' data in `figures/` beside it.

    RunError: the page cannot be written.
    """
    verdicts = [verdict for result in results for verdict in result.verdicts]
    claims = [(claim, [v for v in verdicts if v.id == claim.id]) for claim in paper.claims]
    titles = {
        id: title
        for id, title in paper.sections.items()
        if any(experiment.section == id for experiment in (*paper.summaries, *paper.experiments))
    }
    figures = {
        id: [
            figure
            for experiment in (*paper.summaries, *paper.experiments)
            if experiment.section == id
            for figure in _figures(experiment, results)
        ]
        for id in titles
    }
    sections = sections_with_files(figures)
    values = {
        "title": paper.question,
        "paper": paper,
        "titles": titles,
        "claims": claims,
        "sections": sections,
        "counts": Counter(verdict.verdict for verdict in verdicts),
        "models": list(dict.fromkeys(v.model or v.subject for v in verdicts)),
        "command": command,
        "results": results,
    }
    parts = [figure for figures in sections.values() for figure in figures]
    return write_page(out, "paper.html", parts, values)


def _figures(
    experiment: AnyExperiment | Summary, results: Sequence[ExperimentResult]
) -> Sequence[Figure | None]:
    tables: dict[str, pl.DataFrame] = {
        result.subject: result.table
        for result in results
        if result.experiment.name == experiment.name and result.table is not None
    }
    if experiment.figure is None or not tables:
        return ()
    drawn = experiment.figure(tables)
    return drawn if isinstance(drawn, Sequence) else (drawn,)
