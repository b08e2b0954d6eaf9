"""The page's figures: effects and constancy against size, and the curves of Functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from benchmarks.sizes.arrange import (
    CONSTANT,
    REVERSED,
    STEMS,
    Row,
    arm_of,
    claim_ids,
    claim_of,
    in_nats,
    main_runs,
    rows_of_task,
    stem_of,
    stems_of,
    tasks_of,
)
from benchmarks.sizes.function_curves import curve_panels
from benchmarks.sizes.records import KeptRun
from benchmarks.sizes.svg import draw
from oocr.charts.arms import BASE, CEILING, RANDOM, Arm, dot_keys
from oocr.charts.dots import dot_panel
from oocr.charts.figure import LegendEntry, Panel
from oocr.claims.records import Claim

_SHARES = (-0.02, 1.04)
_SCORES = {
    "swap": "share of the LoRA's effect kept",
    "constancy-cosine": "cosine",
    "constancy-energy": "share of energy",
    "self-report-paper": "share answered Yes",
}
_NULLS = "up to the highest null: random directions, noise, wrongly trained controls"


def figures(runs: Sequence[KeptRun]) -> dict[str, str]:
    """Name -> SVG, of the figures that the runs have numbers for."""
    drawn = {}
    for name, about, stems, top in (
        ("effect", "effect against size, a panel per task and claim", None, ""),
        ("constant", "constancy and swaps against size", CONSTANT, "highest possible"),
    ):
        panels, arms = _panels(runs, stems)
        if panels:
            keys = dot_keys([*sorted(arms, key=lambda arm: arm.order), BASE])
            keys += (CEILING.entry(top, symbol="tick"),)
            keys += (LegendEntry("null", _NULLS, "random", "band"),)
            drawn[name] = draw(panels, keys, about)
    rows, entries = curve_panels(runs)
    if rows:
        drawn["functions"] = draw(rows, entries, "Functions by block, training step and rows")
    return drawn


def _panels(
    runs: Sequence[KeptRun], stems: Sequence[str] | None
) -> tuple[list[list[Panel]], set[Arm]]:
    """Rows of panels on these claims (None: on effects), and the arms in them.

    Effects stand two in a row, constancy and swaps of a task in one.
    """
    panels: list[Panel] = []
    by_task: list[list[Panel]] = []
    arms: set[Arm] = set()
    for task in tasks_of(runs):
        rows = rows_of_task(main_runs(runs), task)
        by_task.append([])
        for stem in stems_of(rows):
            if stem in (*CONSTANT, *REVERSED) if stems is None else stem not in stems:
                continue
            claims = [
                (row, claim)
                for id in claim_ids(rows)
                for row in rows
                if (claim := claim_of(row.run, id)) is not None and stem_of(claim) == stem
            ]
            arms |= {arm_of(claim) for _, claim in claims}
            panel = _panel(task, stem, rows, claims)
            panels.append(panel)
            by_task[-1].append(replace(panel, span=2))
    pairs = [panels[place : place + 2] for place in range(0, len(panels), 2)]
    return (pairs if stems is None else [row for row in by_task if row]), arms


def _panel(task: str, stem: str, rows: Sequence[Row], claims: Sequence[tuple[Row, Claim]]) -> Panel:
    marks: list[dict[str, Any]] = []
    for row, claim in claims:
        marks.append(_mark(row, arm_of(claim), **claim.found.model_dump(exclude={"n"})))
        marks += [
            _mark(row, arm, value)
            for arm, value in ((BASE, claim.base), (CEILING, claim.ceiling))
            if value is not None
        ]
    for row in rows:
        nulls = [null.value for at, claim in claims if at is row for null in claim.nulls]
        if nulls:
            most = max(nulls)
            marks.append(_mark(row, RANDOM, most, min(most, 0.0), max(most, 0.0)))
    nats = any(in_nats(claim) for _, claim in claims)
    limits = None if nats else _kept(claims) if stem == "swap" else _SHARES
    score = "nats" if nats else _SCORES.get(stem, "share right")
    table = pl.DataFrame(marks, infer_schema_length=None).unique(maintain_order=True)
    title = f"{task[:1].upper()}{task[1:]}: {STEMS.get(stem, stem.replace('-', ' '))}"
    labels = [row.label for row in rows]
    panel = dot_panel(
        table, labels, score, limits=limits, zero=nats or stem == "swap", title=title, span=3
    )
    start = panel.layout["xaxis"]["range"][0]
    present = {row.label for row, _ in claims}
    notes = [
        {"x": start, "y": -place, "text": "not run" if row.run is None else "not asked"}
        for place, row in enumerate(rows)
        if row.label not in present
    ]
    look = {**panel.layout, "annotations": [{**note, "showarrow": False} for note in notes]}
    return replace(panel, layout=look)


def _kept(claims: Sequence[tuple[Row, Claim]]) -> tuple[float, float]:
    """Ends of an axis of kept shares, which have no bounds; long intervals are cut."""
    ends = [end for _, claim in claims for end in (claim.found.low, claim.found.high)]
    return max(-1.0, min(-0.05, *ends)), min(2.5, max(1.1, *ends))


def _mark(
    row: Row, arm: Arm, value: float, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    """A row of a dot panel's table."""
    ends = {"value": value, "low": low, "high": high}
    return {"row": row.label, "arm": arm.name, "control": "", **ends, "note": ""}
