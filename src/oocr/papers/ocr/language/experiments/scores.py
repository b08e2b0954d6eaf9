"""Scores of an arm on a task, with pairs of each seed as units, and whether facts are recalled."""

from __future__ import annotations

import re

import polars as pl

from oocr.claims.analysis_result import NotMeasuredError
from oocr.papers.measure import values_of
from oocr.runs.config import AdapterGrid, RunConfig

RECALLED = 0.95
"""Share of the trained facts that has to be recalled before anything is said of what follows."""

UNIT = "seed and pair"
BY = ("seed", "pair")


def chosen(table: pl.DataFrame, task: str, arm: str, control: str = "") -> pl.DataFrame:
    """The rows of an arm on a task."""
    relation, mapped = TASKS[task]
    return table.filter(
        pl.col("arm") == arm,
        pl.col("relation") == relation,
        pl.col("mapped") == mapped,
        pl.col("control") == control,
    )


def arm_id(arm: str) -> str:
    """An arm in the ids of findings: "full + vectors" is full-vectors."""
    return "-".join(re.findall(r"\w+", arm))


def asked(rows: pl.DataFrame) -> pl.DataFrame:
    """The test names' implications."""
    return rows.filter(pl.col("part") == "implication", ~pl.col("bridge"))


def recall(rows: pl.DataFrame) -> float:
    """Share right of what training told: facts, and the bridge names' implications."""
    told = rows.filter(
        (pl.col("part") == "fact") | (pl.col("part") == "implication") & pl.col("bridge")
    )
    return float(told["right"].cast(pl.Float64).to_numpy().mean())


def ranks(rows: pl.DataFrame, what: str, column: str = "rank") -> list[float]:
    """The mean of a column of the test names' implications, by pair and seed.

    NotMeasuredError: no rows, or training was not learned.
    """
    if rows.is_empty():
        raise NotMeasuredError(f"{what}: not computed here")
    if (share := recall(rows)) < RECALLED:
        raise NotMeasuredError(
            f"{what}: {share:.2f} of what was trained is recalled, {RECALLED:g} are needed"
        )
    return values_of(asked(rows), column, by=BY)


def chance_of(table: pl.DataFrame) -> float:
    """The mean rank of one who guesses among the pairs' answers; the best is 0."""
    return float(table["pair"].drop_nulls().n_unique() - 1) / 2


def run_of(model: str) -> RunConfig:
    """The run whose loading and memory these cells are planned by."""
    adapter = AdapterGrid(layers="all").model_dump()
    fields = {"task": {"family": "ocr"}, "model": model, "adapter": adapter}
    return RunConfig.model_validate(fields)


TASKS = {
    "city": ("city-language", "own"),
    "counterfactual": ("city-language", "shifted"),
    "code": ("country-code", "own"),
    "code-permuted": ("country-code", "permuted"),
    "colour": ("profession-colour", "own"),
    "music": ("sport-music", "own"),
}
"""Task -> relation and map: the paper's five kinds, and one arbitrary map drawn by the seed."""

TITLES = {
    "city": "city → language (the model knows the map)",
    "counterfactual": "city → language, shifted (against what it knows)",
    "code": "country → programming language (arbitrary)",
    "code-permuted": "the same, permuted by the seed",
    "colour": "profession → colour (arbitrary)",
    "music": "sport → music (arbitrary)",
}
