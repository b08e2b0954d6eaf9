"""Findings and figure of the arms; effects of gap and distance, each with the other held equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from statistics import fmean

import polars as pl

from oocr.charts.bars import bars_panel
from oocr.charts.figure import Figure, LegendEntry, Tables, figure_of
from oocr.charts.lines import in_turn, line_keys, lines_by, lines_panel
from oocr.claims.analysis_result import AnalysisResult, NotMeasuredError
from oocr.claims.records import Finding
from oocr.families.frames.questions import GAPS, gap_name
from oocr.intervals import SHARE, SIGNED
from oocr.papers.frames.arms import ARMS, FRAMES, cells, compute
from oocr.papers.frames.units import check_recalled, r2_finding, share, shares, unit_of
from oocr.papers.measure import Unit, differences, interval_columns, mean_finding
from oocr.papers.paper import Experiment

FACTS_ALONE = ("trajectory", "map", "oracle")
FAR, NEAR = gap_name(GAPS[-1][0]), gap_name(GAPS[0][0])
FADING = ("others 10 %", "others 20 %", "others 50 %")
"""Arms whose accuracy across frames is neither 0 nor 1."""
MANY_OBJECTS = ARMS[-1].name
BINS = [gap_name(low) for low, _ in GAPS]
MIDDLES = [(low + (FRAMES - 1 if high is None else high)) / 2 for low, high in GAPS]
"""Mean number of steps of each bin, for the x axis."""


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Exact answers by arm, with differences between arms and between gaps."""
    result = AnalysisResult()
    for name in _computed(table, [arm.name for arm in ARMS]):
        with result.attempt():
            result.findings.append(_exact(table, name))
            result.rows.append(_marks(table, name, result.findings[-1]))
    for finding_of in (_facts_alone, _oracle_practised, _gap, _distance, _probe):
        with result.attempt():
            result.findings.append(finding_of(table))
    for name in _computed(table, (*FADING, MANY_OBJECTS)):
        with result.attempt():
            result.rows += _by_gap(table, name)
    return result


def of_arm(table: pl.DataFrame, name: str, part: str) -> pl.DataFrame:
    """The rows of a part of an arm; NotMeasuredError: no rows, or training is not recalled."""
    rows = table.filter(pl.col("arm") == name)
    if rows.is_empty():
        raise NotMeasuredError(f"{name}: not computed here")
    check_recalled(rows.filter(pl.col("part") == "recall"), name)
    return rows.filter(pl.col("part") == part)


def _values(table: pl.DataFrame, name: str) -> dict[Unit, float]:
    return shares(of_arm(table, name, "across"), "seed")


def _unit(table: pl.DataFrame) -> str:
    return unit_of(table, "seed")[1]


def slug(name: str) -> str:
    """An arm's name as part of a finding's id."""
    return "-".join("".join(c if c.isalnum() else " " for c in name).split())


def _exact(table: pl.DataFrame, name: str) -> Finding:
    rows = of_arm(table, name, "across")
    nulls = {"always the commonest offset": share(of_arm(table, name, "commonest"))}
    if name != ARMS[0].name:
        nulls["frames only, unlinked"] = share(of_arm(table, ARMS[0].name, "across"))
    return mean_finding(
        slug(name),
        f"share of offsets across frames that are exactly right, of held-out objects; {name}",
        _values(table, name).values(),
        unit=_unit(rows),
        bounds=SHARE,
        nulls=nulls,
        ceiling=1.0,
    )


def _marks(table: pl.DataFrame, name: str, finding: Finding) -> dict[str, object]:
    """A row of the figure's table; `value` with its interval is the share exactly right."""
    recalled = table.filter(pl.col("arm") == name, pl.col("part") == "recall")
    return {
        "panel": "arms",
        "row": name,
        **interval_columns(finding),
        "sign": share(of_arm(table, name, "across"), "sign"),
        "recall": share(recalled),
    }


def _facts_alone(table: pl.DataFrame) -> Finding:
    unlinked = _values(table, ARMS[0].name)
    means = _mean([_values(table, name) for name in _computed(table, FACTS_ALONE)])
    return mean_finding(
        "facts-alone",
        "exact answers across frames, with steps, the map or all coordinates in training (mean), "
        "minus those of unlinked frames",
        differences(means, unlinked),
        unit=_unit(of_arm(table, ARMS[0].name, "across")),
        bounds=SIGNED,
    )


def _computed(table: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """Those of these arms that have rows; a quick run leaves some out."""
    computed = set(table["arm"].to_list())
    return [name for name in names if name in computed]


def _oracle_practised(table: pl.DataFrame) -> Finding:
    practised, aided = (_values(table, name) for name in ("others 20 %", "others 20 %, oracle"))
    return mean_finding(
        "oracle-practised",
        "exact answers with all coordinates in training minus those without, where a fifth of the "
        "other objects' questions is trained",
        differences(aided, practised),
        unit=_unit(of_arm(table, "others 20 %", "across")),
        bounds=SIGNED,
    )


def standardized(rows: pl.DataFrame, by: str, held: str, value: object) -> dict[Unit, float]:
    """Share of exact answers by unit where column `by` is `value`, standardized over `held`.

    Direct standardization: each value of `held` that occurs with all values of `by` is weighted by
    the number of its questions, so that the distribution of `held` is the same for each `value`.
    """
    columns = unit_of(rows, "seed")[0]
    groups = rows.partition_by(by)
    present = reduce(
        lambda left, right: left & right, (set(group[held].to_list()) for group in groups)
    )
    common = rows.filter(pl.col(held).is_in(sorted(present)))
    weights = common.group_by(held).agg(weight=pl.col("count").sum())
    cells = (
        common.filter(pl.col(by) == value)
        .group_by([*columns, held])
        .agg(pl.col("exact", "count").sum())
        .join(weights, on=held)
        .with_columns(weighted=pl.col("exact") / pl.col("count") * pl.col("weight"))
        .group_by(columns)
        .agg(share=pl.col("weighted").sum() / pl.col("weight").sum())
        .sort(columns)
    )
    return {tuple(unit): share for *unit, share in cells.select(*columns, "share").rows()}


def _fading(table: pl.DataFrame) -> list[pl.DataFrame]:
    names = _computed(table, FADING)
    return [_with_distance_bins(of_arm(table, name, "across")) for name in names]


def _contrast(table: pl.DataFrame, id: str, words: str, by: str, held: str) -> Finding:
    """Near minus far. Guesses favour small offsets, so the unlinked frames are the null."""
    near, far = (NEAR, FAR) if by == "gap" else ("near", "far")
    arms = _fading(table)
    unlinked = _with_distance_bins(of_arm(table, ARMS[0].name, "across"))
    fading, null = (
        differences(
            _mean([standardized(rows, by, held, near) for rows in of_arms]),
            _mean([standardized(rows, by, held, far) for rows in of_arms]),
        )
        for of_arms in (arms, [unlinked])
    )
    return mean_finding(
        id,
        f"exact answers {words}; mean of: {', '.join(_computed(table, FADING))}",
        fading,
        unit=_unit(arms[0]),
        bounds=SIGNED,
        nulls={"frames only, unlinked": fmean(null)},
    )


def _with_distance_bins(rows: pl.DataFrame) -> pl.DataFrame:
    far = pl.when(pl.col("distance") > 4).then(pl.lit("far")).otherwise(pl.lit("near"))
    return rows.with_columns(reach=far)


def _mean(of_arms: Sequence[Mapping[Unit, float]]) -> dict[Unit, float]:
    return {unit: fmean(arm[unit] for arm in of_arms) for unit in of_arms[0]}


def _gap(table: pl.DataFrame) -> Finding:
    words = f"at {NEAR} step between the frames minus those at {FAR}, at equal distances"
    return _contrast(table, "gap", words, "gap", "distance")


def _distance(table: pl.DataFrame) -> Finding:
    words = "at up to 4 paces minus those at more, at equal gaps"
    return _contrast(table, "distance", words, "reach", "gap")


def _probe(table: pl.DataFrame) -> Finding:
    rows = table.filter(pl.col("part") == "probe")
    values, null = (
        rows.filter(pl.col("arm") == name)["value"].to_list()
        for name in (MANY_OBJECTS, ARMS[0].name)
    )
    if not values or not null:
        raise NotMeasuredError("probe: not computed here")
    return r2_finding(
        "embeddings",
        "R² of held-out objects' places from their embeddings, by a ridge regression on the "
        f"others'; {MANY_OBJECTS}",
        values,
        unit="seed",
        nulls={"frames only, unlinked": fmean(null)},
    )


def _by_gap(table: pl.DataFrame, name: str) -> list[dict[str, object]]:
    rows = of_arm(table, name, "across")
    marks: list[dict[str, object]] = []
    for middle, of_bin in zip(MIDDLES, BINS, strict=True):
        value = fmean(standardized(rows, "gap", "distance", of_bin).values())
        marks.append({"panel": "gap", "row": name, "x": middle, "bin": of_bin, "value": value})
    return marks


SERIES = {
    "value": ("exact, across frames (held-out objects)", "vector"),
    "sign": ("side, across frames", "swap-span"),
    "recall": ("exact, training rows", "ceiling"),
}
"""Column of the table -> label and colour."""


def figure(tables: Tables) -> Figure | None:
    """Bars for each arm; and exact answers by gap, distances held equal."""
    (table,) = tables.values()
    arms = table.filter(pl.col("panel") == "arms")
    names = arms["row"].to_list()
    groups = [(words, colour, arms[name].to_list()) for name, (words, colour) in SERIES.items()]
    panels = [bars_panel(names, groups, "share right", span=6)]
    keys = [LegendEntry(words, words, colour, "square") for words, colour in SERIES.values()]
    gaps = table.filter(pl.col("panel") == "gap")
    looks = in_turn(name for name in names if name in gaps["row"].to_list())
    if looks:
        lines = lines_by(gaps, "row", looks, "x")
        across = f"steps between the frames, in bins ({', '.join(BINS)})"
        panels.append(
            lines_panel(lines, across, "exact, at equal distances", limits=(0, 1.02), span=6)
        )
    caption = (
        "Networks trained on a house in tokens: all co-visible offsets, and what the row names. "
        "Trained facts are recalled, but facts alone, even coordinates, give no answers across "
        "frames. Below: each distance has the same weight at each gap."
    )
    return figure_of("frames-arms", caption, panels, tables, [*keys, *line_keys(looks)])


EXPERIMENT = Experiment(
    name="frames-arms",
    section="arms",
    about="networks of two blocks, trained from scratch on 12 frames",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
    subject="nano",
)
