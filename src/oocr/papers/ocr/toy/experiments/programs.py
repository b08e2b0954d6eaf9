"""The max-margin programs: do the closed form and a convex solver agree?"""

from __future__ import annotations

import math

import polars as pl

from oocr.charts.figure import Figure, LegendEntry, Tables, figure_of
from oocr.charts.lines import Line
from oocr.claims.analysis_result import AnalysisResult, NotMeasuredError
from oocr.errors import InputError, RunError
from oocr.papers.measure import mean_finding
from oocr.papers.ocr.toy.experiments.shares_of_bridges import (
    CLOSED_FORM,
    against_shares,
    closed_form,
)
from oocr.papers.ocr.toy.max_margin import (
    Norm,
    least_frobenius_square,
    least_gap,
    least_nuclear_norm,
    margins,
)
from oocr.papers.ocr.toy.programs import solve
from oocr.papers.ocr.toy.world import World
from oocr.papers.paper import Cell, Experiment, PaperSettings, Rows

SMALL = ((3, 1, 1), (3, 1, 3), (5, 1, 3), (5, 1, 4), (5, 2, 2), (5, 3, 1), (4, 1, 8))
LARGE = ((10, 1, 3), (20, 1, 3))
"""Pairs, bridge names and test names per pair; the last shape is the paper's."""


class ProgramCell(Cell):
    """A program: number of pairs, bridge and test names of each pair, and the norm."""

    pairs: int
    bridges: int
    tests: int
    norm: Norm


def cells(settings: PaperSettings) -> list[ProgramCell]:
    """Both norms for each shape; a quick run leaves out the two largest shapes."""
    return [
        ProgramCell(pairs=pairs, bridges=bridges, tests=tests, norm=norm)
        for pairs, bridges, tests in (SMALL if settings.quick else (*SMALL, *LARGE))
        for norm in ("nuclear", "frobenius")
    ]


def compute(cell: ProgramCell) -> Rows:
    """The solver's norm and test margin, with the values of the closed form."""
    world = World(pairs=cell.pairs, bridges=cell.bridges, tests=cell.tests)
    shape = (cell.bridges, cell.tests)
    try:
        solved = margins(solve(world, cell.norm), world)
    except (InputError, RunError) as error:
        raise NotMeasuredError(str(error)) from error
    if cell.norm == "nuclear":
        value, formula = solved.nuclear, least_nuclear_norm(cell.pairs, *shape)
    else:
        value, formula = solved.frobenius, least_frobenius_square(cell.pairs, *shape)
    gap = least_gap(*shape, cell.norm)
    return [{"value": value, "formula": formula, "ratio": solved.ratio, "gap": gap}]


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Digits to which closed form and solver agree, and the test margin of both programs."""
    nuclear = table.filter(pl.col("norm") == "nuclear")
    frobenius = table.filter(pl.col("norm") == "frobenius")
    by_value = _digits(table["value"] / table["formula"] - 1)
    by_gap = _digits(nuclear["ratio"] - nuclear["gap"])
    findings = [
        mean_finding(
            "value-digits",
            "digits to which the solver's least norm and the formula agree",
            by_value,
            unit="program",
        ),
        mean_finding(
            "gap-digits",
            "decimals to which the solver's test margin and √(m_tr/m_te), at most 1, agree",
            by_gap,
            unit="shape",
        ),
        mean_finding(
            "frobenius-test-margin",
            "test margin over training margin of the solver's solution, Frobenius norm",
            frobenius["ratio"],
            unit="shape",
        ),
    ]
    return AnalysisResult(findings, table.to_dicts())


def _digits(errors: pl.Series) -> list[float]:
    """-log10 |error|, at most 16."""
    return [min(-math.log10(max(abs(error), 1e-300)), 16.0) for error in errors]


def figure(tables: Tables) -> Figure | None:
    """The solver's test margins against m_tr / m_te, with the line of the closed form."""
    (table,) = tables.values()
    looks = {
        "nuclear": ("least nuclear norm, solver", "vector", "circle"),
        "frobenius": ("least Frobenius norm, solver", "adapter", "square"),
    }
    lines = [closed_form()]
    for norm, (words, colour, symbol) in looks.items():
        rows = table.filter(pl.col("norm") == norm)
        shares = (rows["bridges"] / rows["tests"]).to_list()
        shapes = [f"{n} pairs" for n in rows["pairs"]]
        ratios = rows["ratio"].to_list()
        lines.append(Line(words, colour, shares, ratios, symbols=symbol, dots=True, notes=shapes))
    keys = [LegendEntry(CLOSED_FORM, CLOSED_FORM, "base", "line")]
    keys += [LegendEntry(words, words, *look) for words, *look in looks.values()]
    caption = (
        "The margin of a test name's c over other c's, as a share of the training margin, of both "
        "programs' solutions. It depends on how many of a pair's names are bridges only, not on "
        "the number of pairs."
    )
    return figure_of(EXPERIMENT.name, caption, [against_shares(lines)], table, keys)


EXPERIMENT = Experiment(
    name="ocr-programs",
    section="margins",
    about="both max-margin programs by a convex solver, beside their closed form",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
    subject="programs",
)
