"""Losses and scores by training step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from oocr.charts.arms import ADAPTER, BASE, VECTOR, Arm, dot_keys, rows_of_arm
from oocr.charts.figure import Figure, LegendEntry, Panel, figure_of
from oocr.charts.lines import Line, line_of, lines_panel
from oocr.evals.scores import Scoring
from oocr.intervals import POSITIVE, mean_interval
from oocr.runs.folder import RunFolder, as_float, has

METHODS = (VECTOR, ADAPTER)

_CURVES = {
    "loss": ("training loss", "muted", "solid"),
    "stop_loss": ("loss on held-out training items", "other", "dot"),
    "in_context": ("trained skill", "ceiling", "dash"),
    "probes": ("out of context", "", "solid"),
}
"""Line of the table -> legend, colour ("": the arm's) and dash."""

_KINDS = {"losses": ("loss", "stop_loss"), "scores": ("in_context", "probes")}

_MOST_FACETS = 12  # panels

SHARE = (-0.04, 1.04)


def training_figure(run: RunFolder) -> Figure | None:
    """Per method a panel of losses and a panel of scores, against steps."""
    scoring = run.scoring
    accuracy = scoring is not None and scoring.measure == "accuracy"
    panels: list[Panel] = []
    tables: list[pl.DataFrame] = []
    several_stops = False
    for arm in METHODS:
        stops = _stops(run, arm)
        several_stops |= len(stops) > 1
        for kind, table, title in (
            ("loss", _losses(run, arm), "loss (nats per item)"),
            ("score", _scores(run, arm, scoring), scoring.axis if scoring else ""),
        ):
            if table is None:
                continue
            tables.append(table.with_columns(arm=pl.lit(arm.name)))
            lines = _member_lines(run, arm, kind) if kind == "loss" or accuracy else []
            panels.append(
                lines_panel(
                    [*lines, *_mean_lines(arm, table)],
                    "training steps",
                    title,
                    title=arm.label,
                    height=300,
                    verticals={step: 0.12 + 0.5 * share for step, share in stops.items()},
                    limits=SHARE if kind == "score" and accuracy else None,
                    from_zero=True,
                )
            )
    if not tables:
        return None
    data = pl.concat(tables, how="vertical_relaxed")
    keys = [
        LegendEntry(curve, label, colour or "vector", "line" if dash == "solid" else "dash")
        for curve, (label, colour, dash) in _CURVES.items()
        if curve in data["line"]
    ]
    sizes = {
        name: as_float(data.filter(pl.col("line").is_in(curves))["n"].max())
        for name, curves in _KINDS.items()
    }
    caption = (
        "Mean over members and seeds. Ribbons: 95 % intervals over members"
        + (
            ""
            if accuracy or scoring is None
            else " (losses) and over probe groups and seeds (scores)"
        )
        + (". Faint: single members" if accuracy else "")
        + (
            ". Upright lines: where arms stopped, each by its own held-out items; darker: more arms"
            if several_stops
            else ". Upright line: the stopping point chosen on validation tasks"
        )
        + ". n per method: "
        + ", ".join(f"{n:.0f} arms for {name}" for name, n in sizes.items() if n > 0)
        + "."
    )
    return figure_of("training", caption, panels, data, keys)


def _stops(run: RunFolder, arm: Arm) -> dict[float, float]:
    """Where arms stopped: step -> share of the arms.

    One step chosen on validation tasks, or each arm's own (the selection then says step 0).
    """
    for choice in run.selection.grid if run.selection is not None else ():
        if choice.chosen and choice.method == arm.name and choice.step > 0:
            return {choice.step: 1.0}
    if run.rows is None:
        return {}
    final = rows_of_arm(run.rows, arm).filter(pl.col("final"), pl.col("step").is_not_null())
    arms = final.select("member", "seed", "step").unique()
    counts = arms.group_by("step").len().sort("step")
    return {float(step): count / arms.height for step, count in counts.iter_rows()}


def followed(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of the arms that were scored at several steps, so that every step has the same arms."""
    keys = ["member", "seed"]
    steps = rows.group_by(keys).agg(pl.col("step").n_unique().alias("_steps"))
    kept = steps.filter(pl.col("_steps") > 1).select(keys)
    return rows.join(kept, on=keys, how="semi", nulls_equal=True, maintain_order="left")


def _steps_of(rows: pl.DataFrame, arm: Arm) -> pl.DataFrame:
    return followed(rows_of_arm(rows, arm).filter(pl.col("step").is_not_null()))


def _losses(run: RunFolder, arm: Arm) -> pl.DataFrame | None:
    if not has(run.history, "method", "control", "member", "seed", "step", "loss"):
        return None
    rows = run.history.filter(pl.col("method") == arm.name, pl.col("control") == "")
    points = []
    for curve in ("loss", "stop_loss"):
        if curve not in rows.columns:
            continue
        finite = rows.filter(pl.col(curve).is_not_null(), pl.col(curve).is_finite())
        for (step,), at_step in finite.group_by("step", maintain_order=True):
            means = at_step.group_by("member", maintain_order=True).agg(pl.col(curve).mean())
            interval = mean_interval(means[curve].to_list(), bounds=POSITIVE)
            points.append({"line": curve, "step": step} | interval.columns | {"n": at_step.height})
    return pl.DataFrame(points).sort("line", "step") if points else None


def _scores(run: RunFolder, arm: Arm, scoring: Scoring | None) -> pl.DataFrame | None:
    if scoring is None or run.rows is None:
        return None
    rows = _steps_of(run.rows, arm)
    points = []
    for part in ("in_context", "probes"):
        of_part = rows.filter(pl.col("part") == part)
        base = rows_of_arm(run.rows, BASE).filter(pl.col("part") == part)
        for (step,), at_step in of_part.group_by("step", maintain_order=True):
            interval = scoring.interval(at_step, base)
            if interval is not None:
                arms = at_step.select("member", "seed").unique().height
                points.append({"line": part, "step": step} | interval.columns | {"n": arms})
    if len({point["step"] for point in points}) < 2:
        return None
    return pl.DataFrame(points).sort("line", "step")


def _member_lines(run: RunFolder, arm: Arm, kind: str) -> list[Line]:
    """One faint line per member: its training loss, or its out-of-context score."""
    if kind == "loss":
        assert run.history is not None
        rows = run.history.filter(pl.col("method") == arm.name, pl.col("control") == "")
        column, curve = "loss", "loss"
    else:
        assert run.rows is not None
        rows = run.info.scoring.kept(_steps_of(run.rows.filter(pl.col("part") == "probes"), arm))
        keys = ("member", "step", "facet")
        rows = rows.group_by(keys, maintain_order=True).agg(pl.col("right").cast(pl.Float64).mean())
        column, curve = "right", "probes"
    means = rows.group_by("member", "step", maintain_order=True).agg(pl.col(column).mean())
    colour = _CURVES[curve][1] or arm.colour
    return [
        Line(
            str(member),
            colour,
            line.sort("step")["step"].to_list(),
            line.sort("step")[column].to_list(),
            key=curve,
            faint=True,
        )
        for (member,), line in means.group_by("member", maintain_order=True)
    ]


def _mean_lines(arm: Arm, table: pl.DataFrame) -> list[Line]:
    lines = []
    for (name,), points in table.group_by("line", maintain_order=True):
        label, colour, dash = _CURVES[str(name)]
        lines.append(
            line_of(
                points.with_columns(note=pl.format("n = {} arms", "n")),
                f"{arm.label}, {label}",
                colour or arm.colour,
                "step",
                intervals=True,
                key=str(name),
                dash=dash,
                ribbon=True,
            )
        )
    return lines


def facets_figure(run: RunFolder) -> Figure | None:
    """A small panel per out-of-context facet, with a line per method, against steps."""
    scoring = run.scoring
    if scoring is None or run.rows is None:
        return None
    probes = run.rows.filter(pl.col("part") == "probes", pl.col("control") == "")
    facets = probes["facet"].unique(maintain_order=True).to_list()
    if not 1 < len(facets) <= _MOST_FACETS:
        return None
    points = [
        {"facet": str(facet), "arm": arm.name, "step": step} | interval.columns
        for arm in METHODS
        if (rows := _steps_of(probes, arm))["step"].n_unique() > 1
        for (facet, step), at_step in rows.group_by("facet", "step", maintain_order=True)
        if (interval := scoring.by_facet.interval(at_step, rows_of_arm(probes, BASE))) is not None
    ]
    if not points:
        return None
    data = pl.DataFrame(points).sort("facet", "arm", "step")
    accuracy = scoring.measure == "accuracy"
    base = {
        str(facet): interval.value
        for (facet,), rows in rows_of_arm(probes, BASE).group_by("facet", maintain_order=True)
        if accuracy and (interval := scoring.by_facet.interval(rows)) is not None
    }
    shown = [arm for arm in METHODS if arm.name in data["arm"]]
    panels = facet_panels(data, facets, shown, "step", base, shares=accuracy)
    caption = (
        "Out-of-context score against training steps, facet by facet. "
        f"Ribbons: {scoring.bars}." + (" Level line: the untouched model." if base else "")
    )
    keys = dot_keys(shown) + ((BASE.entry(symbol="line"),) if base else ())
    return figure_of("training-facets", caption, panels, data, keys)


def facet_panels(
    data: pl.DataFrame,
    facets: Sequence[str],
    arms: list[Arm],
    x: str,
    base: Mapping[str, float],
    *,
    shares: bool,
) -> list[Panel]:
    """A small panel per facet, a line per arm over steps (from 0) or layers (each a tick)."""
    steps = x == "step"
    panels = []
    for facet in facets:
        table = data.filter(pl.col("facet") == facet)
        if not table.is_empty():
            panels.append(
                lines_panel(
                    method_lines(table, arms, x, intervals=True, ribbon=steps),
                    "" if steps else x,
                    "",
                    title=facet,
                    span=2,
                    height=190 if steps else 230,
                    base=(BASE.key, base[facet]) if facet in base else None,
                    ticks=() if steps else sorted(table[x].unique().to_list()),
                    limits=SHARE if shares else None,
                    from_zero=steps,
                )
            )
    return panels


def method_lines(
    table: pl.DataFrame, arms: list[Arm], x: str, y: str = "value", **look: bool
) -> list[Line]:
    """A line per arm (`look`: see `line_of`); where `chosen` is false, its symbol is hollow."""
    lines = []
    for arm in arms:
        points = table.filter(pl.col("arm") == arm.name).sort(x)
        symbols: str | list[str] = arm.symbol
        if "chosen" in points.columns:
            symbols = [
                arm.symbol if chosen else f"{arm.symbol}-open" for chosen in points["chosen"]
            ]
        if not points.is_empty():
            name = arm.label
            lines.append(
                line_of(points, name, arm.colour, x, y, key=arm.key, symbols=symbols, **look)
            )
    return lines
