"""Claims of the ockr family; a conclusion is tested only if its premises are recalled."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from statistics import fmean

import polars as pl

from oocr import intervals
from oocr.claims import conditions, rules
from oocr.claims.judge import NAMES, ClaimRow, RunResults, estimate_of, null_of, seeds_of
from oocr.claims.records import Finding
from oocr.claims.run_claims import COMMON, METHODS
from oocr.evals.scores import select_rows

RECALLED = 0.95
"""Conclusions are tested only if this share of the premises is recalled."""


def _recall_finding(results: RunResults, arm: str) -> Finding | None:
    """Accuracy on premises in a wording that was not trained; units are people."""
    rows = select_rows(results.rows, arm, part="in_context")
    base = select_rows(results.rows, "base", part="in_context")
    if rows.is_empty():
        return None
    shares = _shares_by_person(rows)
    asked = rows.select("member", "group", "item").unique().height
    return Finding(
        id=f"{arm}-recall",
        measure="share of premises answered right, in a wording that was not trained",
        found=estimate_of(
            intervals.mean_interval(shares, bounds=intervals.SHARE, items=asked / len(shares)),
            f"{len(shares)} people × {seeds_of(results.seeds)}",
        ),
        base=None if base.is_empty() else fmean(_shares_by_person(base)),
        ceiling=1.0,
        units=len(shares),
    )


def _shares_by_person(rows: pl.DataFrame) -> list[float]:
    """Share right for each person (with several members: for each member)."""
    unit = "member" if rows["member"].n_unique() > 1 else "group"
    means = (
        rows.with_columns(pl.col("right").cast(pl.Float64))
        .group_by(unit)
        .agg(pl.col("right").mean())
    )
    return means.sort(unit)["right"].to_list()


def _auc_finding(results: RunResults, arm: str) -> Finding | None:
    """Mean over people of the AUC that separates their yes questions from their no questions."""
    rows = select_rows(results.rows, arm)
    shares = _auc_by_person(rows)
    base = _auc_by_person(select_rows(results.rows, "base"))
    if not shares or not base:
        return None
    random = select_rows(results.rows, "random direction")
    drawn = [_auc_by_person(rows) for _, rows in random.group_by("seed", maintain_order=True)]
    null = null_of([fmean(scores) for scores in drawn if scores])
    ceiling = _auc_by_person(select_rows(results.rows, "ceiling"))
    return Finding(
        id=f"{arm}-order",
        measure="area under the curve (AUC) of log-odds of yes, within a person",
        found=estimate_of(
            intervals.mean_interval(shares, bounds=intervals.SHARE, items=_comparisons(rows)),
            f"{len(shares)} people × {seeds_of(results.seeds)}",
        ),
        base=fmean(base),
        nulls=() if null is None else (null,),
        ceiling=fmean(ceiling) if ceiling else None,
        units=len(shares),
    )


def _auc_by_person(rows: pl.DataFrame) -> list[float]:
    """AUC of each person: share of (yes, no) question pairs in the right order; ties count half."""
    rows = rows.filter(pl.col("facet") == "relation")
    if rows.is_empty():
        return []
    agrees = pl.col("answer").str.strip_chars() == "Yes"
    yes = pl.when(agrees).then(pl.col("log_odds")).otherwise(-pl.col("log_odds"))
    rows = rows.with_columns(agrees=agrees, yes=yes)
    shares: list[float] = []
    for _, of_person in rows.sort("group").group_by("group", maintain_order=True):
        seeds = of_person["seed"].unique().to_list()
        values = [
            0.5 * (1 + (int(a > b) - int(a < b)))
            for seed in seeds
            for of_seed in [of_person.filter(pl.col("seed").eq_missing(seed))]
            for a in of_seed.filter("agrees")["yes"]
            for b in of_seed.filter(~pl.col("agrees"))["yes"]
        ]
        if values:
            shares.append(fmean(values))
    return shares


def _comparisons(rows: pl.DataFrame) -> float:
    """Independent comparisons of a yes and a no question per person: the fewer of either kind."""
    asked = rows.filter(pl.col("facet") == "relation").unique(["member", "group", "item"])
    yes = (pl.col("answer").str.strip_chars() == "Yes").sum()
    fewer = asked.group_by("group").agg(pl.min_horizontal(yes, pl.len() - yes).alias("fewer"))
    return fmean(count for count in fewer["fewer"].to_list() if count)


def _if_recalled(row: ClaimRow, arm: str) -> ClaimRow:
    """The claim; it cannot be tested if the arm does not recall its premises."""
    return replace(row, rule=rules.if_recalled(row.rule, f"{arm}-recall", RECALLED))


def _recall_claim(arm: str) -> ClaimRow:
    return ClaimRow(
        f"{arm}-recall",
        f"With {NAMES[arm]} the model recalls what it was told, in other words",
        partial(_recall_finding, arm=arm),
        rules.keeps(RECALLED, 0.8),
    )


def _order_claim(arm: str) -> ClaimRow:
    above = [conditions.low_above(0.5), conditions.above_base(), conditions.above_nulls()]
    row = ClaimRow(
        f"{arm}-order",
        f"With {NAMES[arm]} a relation that follows is nearer to yes than one that does not",
        partial(_auc_finding, arm=arm),
        rules.rule(
            [*above, conditions.low_reaches(0.75)], above, note="Chance is 0.5, whatever the bias."
        ),
    )
    return _if_recalled(row, arm)


CLAIMS: tuple[ClaimRow, ...] = (
    *(_recall_claim(arm) for arm in METHODS),
    *(
        _if_recalled(row, row.id.partition("-")[0])
        if row.id.endswith(("-out-of-context", "-free-answers"))
        else row
        for row in COMMON
    ),
    *(_order_claim(arm) for arm in METHODS),
)
"""Recall first, then the claims of all families, then the AUC of yes and no."""
