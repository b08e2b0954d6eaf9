"""Curves of a run: scores by block and by training step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

from benchmarks.sizes.records import Curve, all_rounded
from oocr import stats
from oocr.charts.arms import BASE, rows_of_arm
from oocr.evals.scores import Scoring, select_rows
from oocr.report.figures.training import METHODS, followed
from oocr.runs.folder import RunFolder, has
from oocr.runs.records import Method


def curves(run: RunFolder) -> tuple[Curve, ...]:
    """All curves that the run has the numbers for."""
    methods: list[Method] = [arm.name for arm in METHODS]  # type: ignore[misc]
    found = (
        curve
        for method in methods
        for made in (_by_layer, _by_step, _validation)
        for curve in made(run, method)
    )
    return tuple(curve for curve in found if len(curve.x) > 1)


def _by_layer(run: RunFolder, method: Method) -> Iterator[Curve]:
    """Test scores at every layer that was trained, each with its own best rate and steps."""
    scoring, rows = run.scoring, run.rows
    if scoring is None or rows is None or not has(rows, "layer"):
        return
    probes = rows.filter(pl.col("final"), pl.col("part") == "probes", pl.col("control") == "")
    base = rows_of_arm(probes, BASE)
    arms = probes.filter(pl.col("arm").is_in([method, f"{method} sweep"])).drop_nulls("layer")
    yield from _scored(scoring, arms, base, "layer", method, "probes")


def _by_step(run: RunFolder, method: Method) -> Iterator[Curve]:
    """Scores at every step that was scored, of arms that were scored at several."""
    scoring, rows = run.scoring, run.rows
    if scoring is None or rows is None:
        return
    arms = rows.filter(pl.col("arm") == method, pl.col("control") == "").drop_nulls("step")
    for part in ("in_context", "probes"):
        of_part = followed(arms.filter(pl.col("part") == part))
        base = select_rows(rows, "base", part=part)
        yield from _scored(scoring, of_part, base, "step", method, part)


def _scored(
    scoring: Scoring, rows: pl.DataFrame, base: pl.DataFrame, x: str, method: Method, part: str
) -> Iterator[Curve]:
    """The score itself by `x` with its interval, then each facet's mean."""
    points: dict[str, list[dict[str, float]]] = {"": []}
    for (at,), here in rows.sort(x, maintain_order=True).group_by(x, maintain_order=True):
        whole, by_facet = scoring.score(here, base), scoring.by_facet.score(here, base)
        if whole is not None:
            points[""].append({"x": float(str(at)), **stats.estimate(whole).columns})
        if by_facet is not None and len(by_facet.facets) > 1:
            for facet in by_facet.facets:
                value = stats.mean(by_facet.only(facet))
                points.setdefault(facet, []).append({"x": float(str(at)), "value": value})
    for facet, line in points.items():
        yield _curve(line, kind=x, part=part, facet=facet, method=method)


def _validation(run: RunFolder, method: Method) -> Iterator[Curve]:
    """The best validation score at each layer."""
    grid = run.selection.grid if run.selection is not None else ()
    best: dict[int, float] = {}
    for point in grid:
        if point.method == method and point.score is not None:
            best[point.layer] = max(point.score, best.get(point.layer, point.score))
    line = [{"x": float(layer), "value": score} for layer, score in sorted(best.items())]
    yield _curve(line, kind="validation", method=method)


def _curve(points: Iterable[dict[str, float]], **names: Any) -> Curve:
    points = list(points)
    columns = {
        name: all_rounded([point[name] for point in points if name in point])
        for name in ("x", "value", "low", "high")
    }
    return Curve.model_validate({**names, **columns})
