"""Losses and scores along training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from oocr import stats
from oocr.charts.arms import ADAPTER, VECTOR, Arm, rows_of
from oocr.charts.figure import Figure, Json, Key, Panel, View, number, text
from oocr.charts.traces import axis, layout
from oocr.report.measure import Measure, measure_of, scored
from oocr.report.runs import Run, as_float, has
from oocr.report.score_table import headline

_LINES = {
    "loss": ("training loss", "@muted", "solid"),
    "stop_loss": ("loss on items to stop on", "@other", "dot"),
    "in_context": ("trained skill", "@ceiling", "dash"),
    "probes": ("out of context", "", "solid"),
}


def training_figure(run: Run) -> Figure | None:
    """Per method a panel of losses and a panel of scores, against steps."""
    panels: list[Panel] = []
    tables: list[pl.DataFrame] = []
    used: set[str] = set()
    several = False
    measure = measure_of(run)
    for arm in (VECTOR, ADAPTER):
        stops = _stops(run, arm)
        several |= len(stops) > 1
        losses = _losses(run, arm)
        scores = _scores(run, arm, measure)
        for table, title, name in (
            (losses, "loss (nats per item)", "loss"),
            (scores, measure.axis if measure else "", "score"),
        ):
            if table is None:
                continue
            faint = _faint(run, arm, name, measure)
            traces = [*faint, *_traces(arm, table)]
            used |= set(table["line"])
            panels.append(_panel(arm, traces, title, stops, accuracy=_shares(name, measure)))
            tables.append(table.with_columns(arm=pl.lit(arm.name)))
    if not tables:
        return None
    keys = tuple(
        Key(line, label, (colour or "@vector")[1:], "line" if dash == "solid" else "dash")
        for line, (label, colour, dash) in _LINES.items()
        if line in used
    )
    caption = "Mean over members and seeds. Ribbons: 95 % intervals over members"
    if measure is not None and measure.kind != "accuracy":
        caption += " (losses) and over probe groups, then seeds (scores)"
    caption += ". Faint: single members" if _shares("score", measure) else ""
    caption += (
        ". Upright lines: where arms stopped, each by its own held-out items; the darker, the more."
        if several
        else ". Upright line: the stopping point chosen on validation tasks."
    )
    counts = pl.concat([table.select("line", "n") for table in tables])
    sizes = {
        name: as_float(counts.filter(pl.col("line").is_in(lines))["n"].max())
        for name, lines in (("losses", ("loss", "stop_loss")), ("scores", ("in_context", "probes")))
    }
    caption += " n per method: "
    caption += ", ".join(f"{n:.0f} arms for {name}" for name, n in sizes.items() if n > 0) + "."
    return Figure("training", caption, (View("", tuple(panels)),), _joined(tables), keys)


def _shares(name: str, measure: Measure | None) -> bool:
    return name == "score" and measure is not None and measure.kind == "accuracy"


def _stops(run: Run, arm: Arm) -> dict[int, float]:
    """Where arms stopped: step -> share of the arms.

    One step chosen on validation tasks, or each arm's own (the selection then says step 0).
    """
    if run.selection is not None:
        for choice in run.selection.grid:
            if choice.chosen and choice.method == arm.name and choice.step > 0:
                return {choice.step: 1.0}
    if run.rows is None:
        return {}
    final = rows_of(run.rows, arm).filter(pl.col("final"), pl.col("step").is_not_null())
    arms = final.select("member", "seed", "step").unique()
    counts = arms.group_by("step").len().sort("step")
    return {int(step): count / arms.height for step, count in counts.iter_rows()}


def followed(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of the arms that were scored at several steps, so that every step has the same arms."""
    keys = ["member", "seed"]
    steps = rows.group_by(keys).agg(pl.col("step").n_unique().alias("_steps"))
    kept = steps.filter(pl.col("_steps") > 1).select(keys)
    return rows.join(kept, on=keys, how="semi", nulls_equal=True, maintain_order="left")


def _losses(run: Run, arm: Arm) -> pl.DataFrame | None:
    if not has(run.history, "method", "control", "member", "seed", "step", "loss"):
        return None
    assert run.history is not None
    mine = run.history.filter(pl.col("method") == arm.name, pl.col("control") == "")
    found = []
    for line in ("loss", "stop_loss"):
        if line not in mine.columns:
            continue
        some = mine.filter(pl.col(line).is_not_null(), pl.col(line).is_finite())
        for (step,), rows in some.group_by("step", maintain_order=True):
            means = rows.group_by("member", maintain_order=True).agg(pl.col(line).mean())
            one = stats.mean_interval(means[line].to_list())
            found.append(_point(line, step, one, rows.height))
    return _sorted(found)


def _scores(run: Run, arm: Arm, measure: Measure | None) -> pl.DataFrame | None:
    if measure is None or run.rows is None:
        return None
    mine = followed(rows_of(run.rows, arm).filter(pl.col("step").is_not_null()))
    found = []
    for part in ("in_context", "probes"):
        some = mine.filter(pl.col("part") == part)
        if part == "probes":
            some = headline(some)
        for (step,), rows in some.group_by("step", maintain_order=True):
            one = scored(measure, rows, balanced=True)
            if one is not None:
                arms = rows.select("member", "seed").unique().height
                found.append(_point(part, step, one, arms))
    return _sorted(found) if len({point["step"] for point in found}) > 1 else None


def _point(line: str, step: object, one: stats.Interval, n: int) -> dict[str, Any]:
    return {
        "line": line,
        "step": step,
        "value": one.value,
        "low": one.low,
        "high": one.high,
        "n": n,
    }


def _sorted(found: Sequence[dict[str, Any]]) -> pl.DataFrame | None:
    return pl.DataFrame(found).sort("line", "step") if found else None


def _faint(run: Run, arm: Arm, name: str, measure: Measure | None) -> list[Json]:
    """One faint line per member: its training loss, or its out-of-context score."""
    if name == "loss":
        assert run.history is not None
        rows = run.history.filter(pl.col("method") == arm.name, pl.col("control") == "")
        column, line = "loss", "loss"
    elif _shares(name, measure) and run.rows is not None:
        rows = rows_of(run.rows, arm).filter(
            pl.col("part") == "probes", pl.col("step").is_not_null()
        )
        rows = headline(followed(rows))
        rows = rows.group_by("member", "step", "facet", maintain_order=True).agg(
            pl.col("right").cast(pl.Float64).mean()
        )
        column, line = "right", "probes"
    else:
        return []
    means = rows.group_by("member", "step", maintain_order=True).agg(pl.col(column).mean())
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "meta": line,
            "x": some.sort("step")["step"].to_list(),
            "y": some.sort("step")[column].to_list(),
            "line": {"color": f"{_colour(arm, line)}/0.22", "width": 1, "shape": "linear"},
            "hovertext": text(member),
            "hoverinfo": "text",
        }
        for (member,), some in means.group_by("member", maintain_order=True)
    ]


def _colour(arm: Arm, line: str) -> str:
    return _LINES[line][1] or f"@{arm.colour}"


def _traces(arm: Arm, table: pl.DataFrame) -> list[Json]:
    found: list[Json] = []
    for (name,), some in table.group_by("line", maintain_order=True):
        line = str(name)
        label, _, dash = _LINES[line]
        colour = _colour(arm, line)
        steps = some["step"].to_list()
        found.append(
            {
                "type": "scatter",
                "mode": "lines",
                "meta": line,
                "x": [*steps, *reversed(steps)],
                "y": [*some["high"].to_list(), *reversed(some["low"].to_list())],
                "fill": "toself",
                "fillcolor": f"{colour}/0.15",
                "line": {"color": "@none", "width": 0},
                "hoverinfo": "skip",
            }
        )
        found.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if len(steps) < 20 else "lines",
                "meta": line,
                "x": steps,
                "y": some["value"].to_list(),
                "line": {"color": colour, "width": 2.2, "dash": dash},
                "marker": {"color": colour, "size": 5},
                "hovertext": [
                    f"<b>{text(arm.label)}, {label}</b><br>step {row['step']}: "
                    f"{number(row['value'])} [{number(row['low'])}, {number(row['high'])}]"
                    f"<br>n = {row['n']} arms"
                    for row in some.iter_rows(named=True)
                ],
                "hoverinfo": "text",
            }
        )
    return found


def _panel(
    arm: Arm, traces: list[Json], title: str, stops: dict[int, float], *, accuracy: bool
) -> Panel:
    y = axis(title, "width", rangemode="tozero")
    if accuracy:
        y["range"] = [-0.03, 1.03]
    shapes = [
        {"type": "line", "x0": stop, "x1": stop, "yref": "paper", "y0": 0, "y1": 1}
        | {"line": {"color": f"@ink/{0.12 + 0.5 * share:.2f}", "width": 1.4}, "layer": "below"}
        for stop, share in stops.items()
    ]
    x = axis("training steps", rangemode="tozero")
    return Panel(tuple(traces), layout(x, y, shapes=shapes), 300, arm.label, 3)


def _joined(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(list(tables), how="vertical_relaxed")
