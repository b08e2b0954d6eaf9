"""Scores of an arm on a task; units are the pairs of each seed. Training must be recalled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import polars as pl

from oocr.claims.analysis_result import NotMeasuredError
from oocr.families.ocr.people import Mapped, RelationName
from oocr.papers.measure import Unit, by_unit
from oocr.papers.ocr.language.arms import ArmName, LanguageCell
from oocr.papers.paper import PaperSettings
from oocr.runs.config import AdapterGrid, RunConfig

TASKS: Mapping[str, tuple[RelationName, Mapped]] = {
    "city": ("city-language", "own"),
    "counterfactual": ("city-language", "shifted"),
    "code": ("country-code", "own"),
    "code-permuted": ("country-code", "permuted"),
    "colour": ("profession-colour", "own"),
    "music": ("sport-music", "own"),
}
"""Task -> relation and map: the paper's five tasks, and one map that the seed draws. The model
knows the first map, the second contradicts it, all others are arbitrary."""

TITLES = {
    "city": "city → language (the model knows the map)",
    "counterfactual": "city → language, shifted (against what it knows)",
    "code": "country → programming language (arbitrary)",
    "code-permuted": "the same, permuted by the seed",
    "colour": "profession → colour (arbitrary)",
    "music": "sport → music (arbitrary)",
}

RECALLED = 0.95
"""Implications are analysed only if this share of the trained rows is recalled."""

UNIT = "seed and pair"
BY = ("seed", "pair")

QUICK: Mapping[str, Any] = {"tests": 2, "steps": 40, "rate": 1e-4}
"""A quick run has fewer names and learns them in fewer steps."""


def cell_of(
    settings: PaperSettings,
    model: str,
    seed: int,
    task: str,
    arm: ArmName,
    depths: tuple[float, ...],
) -> LanguageCell:
    """The cell of an arm on a task."""
    relation, mapped = TASKS[task]
    sizes = QUICK if settings.quick else {}
    fields = {"seed": seed, "model": model, "arm": arm, "depths": depths}
    return LanguageCell(relation=relation, mapped=mapped, **fields, **sizes)


def rows_of_arm(table: pl.DataFrame, task: str, arm: str, control: str = "") -> pl.DataFrame:
    """The rows of an arm (or of one of its controls) on a task."""
    relation, mapped = TASKS[task]
    return table.filter(
        pl.col("arm") == arm,
        pl.col("relation") == relation,
        pl.col("mapped") == mapped,
        pl.col("control") == control,
    )


def arm_id(arm: str) -> str:
    """An arm's name in ids of findings: "full + vectors" -> "full-vectors"."""
    return "-".join(re.findall(r"\w+", arm))


def test_implications(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of test names' implications."""
    return rows.filter(pl.col("part") == "implication", ~pl.col("bridge"))


def check_recalled(rows: pl.DataFrame, what: str) -> None:
    """NotMeasuredError: too few trained rows (facts, implications of bridges) are right."""
    trained = rows.filter(
        (pl.col("part") == "fact") | (pl.col("part") == "implication") & pl.col("bridge")
    )
    if (share := mean_of(trained, "right")) < RECALLED:
        raise NotMeasuredError(
            f"{what}: {share:.2f} of what was trained is recalled, {RECALLED:g} are needed"
        )


def mean_of(rows: pl.DataFrame, column: str) -> float:
    """The mean of a column over all rows."""
    return float(rows[column].cast(pl.Float64).to_numpy().mean())


def mean_ranks(rows: pl.DataFrame, what: str, column: str = "rank") -> dict[Unit, float]:
    """Unit -> mean of a column over the test names' implications.

    NotMeasuredError: no rows, or training is not recalled.
    """
    if rows.is_empty():
        raise NotMeasuredError(f"{what}: not computed here")
    check_recalled(rows, what)
    return by_unit(test_implications(rows), column, by=BY)


def chance_of(table: pl.DataFrame) -> float:
    """The mean rank of a random guess among the pairs' answers; the best rank is 0."""
    return float(table["pair"].drop_nulls().n_unique() - 1) / 2


def planning_config(model: str) -> RunConfig:
    """A run with the memory needs of these cells."""
    adapter = AdapterGrid(layers="all").model_dump()
    fields = {"task": {"family": "ocr"}, "model": model, "adapter": adapter}
    return RunConfig.model_validate(fields)
