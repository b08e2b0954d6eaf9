"""Panels of Functions: score by block, scores along training, score by number of rows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.sizes.arrange import (
    Row,
    all_but_rows,
    claim_of,
    main_runs,
    rows_of_task,
    size_of,
    training_rows,
)
from benchmarks.sizes.records import Curve, KeptRun
from oocr.charts.arms import ADAPTER, VECTOR, Arm
from oocr.charts.figure import LegendEntry, Panel
from oocr.charts.lines import COLOURS, Line, lines_panel

TASK = "functions"
_SHARES = (-0.04, 1.04)
_HEIGHT = 240
_METHODS = (VECTOR, ADAPTER)
_OUTPUTS = "outputs (trained)"


def curve_panels(runs: Sequence[KeptRun]) -> tuple[list[list[Panel]], list[LegendEntry]]:
    """Rows of panels, one per run, the largest model first, and their legend.

    Runs that ask a part of what another asks have panels where their arms were tested by block.
    """
    main = {run.id for run in main_runs(runs)}
    drawn = [run for run in runs if run.id in main or has_layers(run)]
    rows = [row for row in reversed(rows_of_task(drawn, TASK)) if row.run is not None]
    facets = _facets(rows)
    panels = [[*_by_layer(row), *_by_step(row, facets)] for row in rows]
    panels.append(_by_rows([run for run in runs if run.task == TASK]))
    keys = [arm.entry() for arm in _METHODS]
    keys += [
        LegendEntry(name, name, colour, "dash" if name == _OUTPUTS else "line")
        for name, colour in facets.items()
    ]
    return [row for row in panels if row], keys


def has_layers(run: KeptRun) -> bool:
    """Whether a run's arms were tested at several blocks."""
    return any(curve.kind == "layer" for curve in run.curves)


def _short(row: Row) -> str:
    """A row's label in a panel's title: "8 × 3" for eight members and three seeds."""
    return re.sub(r"(\d+) members? × (\d+) seeds?", r"\1 × \2", row.label)


def _facets(rows: Sequence[Row]) -> dict[str, str]:
    """Facets whose curves are drawn, and their colours: the same in all panels."""
    names = dict.fromkeys(
        _OUTPUTS if curve.part == "in_context" else curve.facet
        for row in rows
        for curve in _curves(row, "step")
        if (curve.part == "in_context") == (curve.facet == "")
    )
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}


def _curves(row: Row, kind: str) -> list[Curve]:
    return [curve for curve in row.run.curves if curve.kind == kind] if row.run else []


def _by_layer(row: Row) -> list[Panel]:
    """Test scores by block, or those on validation where arms were tested at one block only."""
    tested = _curves(row, "layer")
    lines = [
        _line(curve, arm, arm.colour)
        for arm in _METHODS
        for curve in tested or _curves(row, "validation")
        if curve.method == arm.name and not curve.facet
    ]
    if not lines:
        return []
    ticks = sorted({at for line in lines for at in line.x})
    base = row.run.score("probes", "base") if row.run else None
    panel = lines_panel(
        lines,
        "block",
        "share right" if tested else "validation score",
        title=f"{_short(row)}: by block",
        span=2,
        height=_HEIGHT,
        ticks=ticks,
        level=base.value if tested and base is not None else None,
        limits=_SHARES if tested else None,
    )
    return [panel]


def _by_step(row: Row, facets: dict[str, str]) -> list[Panel]:
    """For each method what is told and what is trained, along training."""
    panels = []
    for arm in _METHODS:
        lines = []
        for curve in _curves(row, "step"):
            trained = curve.part == "in_context"
            if curve.method == arm.name and trained == (curve.facet == ""):
                name = _OUTPUTS if trained else curve.facet
                lines.append(_line(curve, arm, facets[name], name, dash="dash" * trained))
        if lines:
            title = f"{_short(row)}: {arm.label}"
            panels.append(
                lines_panel(
                    lines,
                    "training steps",
                    "share right",
                    title=title,
                    span=2,
                    height=_HEIGHT,
                    limits=_SHARES,
                    from_zero=True,
                )
            )
    return panels


def _line(curve: Curve, arm: Arm, colour: str, name: str = "", dash: str = "") -> Line:
    ends = (curve.low, curve.high) if not name else ((), ())
    return Line(
        name or arm.label,
        colour,
        curve.x,
        curve.value,
        *ends,
        dash=dash or "solid",
        symbols=arm.symbol,
    )


def _by_rows(runs: Sequence[KeptRun]) -> list[Panel]:
    """Out-of-context score by training rows, of runs that differ in their number only."""
    groups: dict[str, list[KeptRun]] = {}
    for run in sorted(runs, key=lambda run: (-run.parameters, training_rows(run))):
        if training_rows(run):
            groups.setdefault(all_but_rows(run), []).append(run)
    panels = []
    for group in groups.values():
        lines = [line for arm in _METHODS for line in _line_by_rows(group, arm)]
        if len(group) > 1 and lines:
            panels.append(
                lines_panel(
                    lines,
                    "training rows",
                    "share right",
                    title=f"{size_of(group[0].model, group[0].parameters)}: by rows",
                    span=2,
                    height=_HEIGHT,
                    ticks=sorted({at for line in lines for at in line.x}),
                    log=True,
                    limits=_SHARES,
                )
            )
    return panels


def _line_by_rows(runs: Sequence[KeptRun], arm: Arm) -> list[Line]:
    claims = [(training_rows(run), claim_of(run, f"{arm.name}-out-of-context")) for run in runs]
    found = [(rows, claim.found) for rows, claim in claims if claim is not None]
    if not found:
        return []
    low, value, high = (
        [getattr(estimate, end) for _, estimate in found] for end in ("low", "value", "high")
    )
    x = [rows for rows, _ in found]
    return [Line(arm.label, arm.colour, x, value, low, high, symbols=arm.symbol)]
