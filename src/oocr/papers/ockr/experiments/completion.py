"""Relations as a matrix to complete: by a table of free entries, or by products of vectors."""

from __future__ import annotations

import polars as pl

from oocr.charts.figure import Figure, LegendEntry, Tables, figure_of
from oocr.claims.analysis_result import AnalysisResult
from oocr.intervals import SHARE
from oocr.papers.measure import mean_finding, values_of
from oocr.papers.ockr.experiments.strips import strip_rows, strips
from oocr.papers.ockr.nano.bilinear import pair_scores, share_right
from oocr.papers.ockr.nano.world import make_world
from oocr.papers.paper import Cell, Experiment, PaperSettings, Rows

STEPS = 150
FORM_LABELS = {"free": "a table of free entries", "factorized": "products of two people's vectors"}


class CompletionCell(Cell):
    """A form of the scorer."""

    form: str
    steps: int = STEPS


def cells(settings: PaperSettings) -> list[CompletionCell]:
    """Both forms on every seed."""
    return [
        CompletionCell(seed=seed, form=form)
        for seed in settings.seeds(full=5, quick=3)
        for form in FORM_LABELS
    ]


def compute(cell: CompletionCell) -> Rows:
    """Share right of the trained relations (recall) and of those that follow (target)."""
    scores, rows = pair_scores(
        make_world(), factorized=cell.form == "factorized", steps=cell.steps, seed=cell.seed
    )
    return [{"what": name, "value": share_right(scores, part)} for name, part in rows.items()]


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Recall and target of both forms."""
    result = AnalysisResult()
    for form, words in FORM_LABELS.items():
        for what, series in (("recall", "recall"), ("target", "what follows")):
            values = values_of(table, "value", form=form, what=what)
            id = f"{form}-recall" if what == "recall" else form
            measure = f"share of relations right ({series}), {words}"
            nulls = {} if what == "recall" else {"chance": 0.5}
            result.findings.append(
                mean_finding(id, measure, values, bounds=SHARE, nulls=nulls, ceiling=1.0)
            )
            result.rows += strip_rows(words, series, values)
    return result


KEYS = (
    LegendEntry("recall", "relations of x, trained", "base", "circle"),
    LegendEntry("what follows", "relations of y with z", "vector", "circle"),
)


def figure(tables: Tables) -> Figure | None:
    """Recall and target by form."""
    panels = [strips(table, KEYS, "R+R→R by a scorer of pairs", 0.5) for table in tables.values()]
    caption = (
        "The same relations, x with y and x with z, fitted by two scorers. Points are seeds; the "
        "line is chance."
    )
    return figure_of(EXPERIMENT.name, caption, panels, tables, KEYS)


EXPERIMENT = Experiment(
    name="ockr-completion",
    section="completion",
    about="relations of x with y and z fitted by a free table and by products of vectors",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
    subject="nano",
)
