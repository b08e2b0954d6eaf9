"""Findings and figure of the vectors of new objects: arms, doses, displacement."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

import polars as pl

from oocr.charts.bars import bars_panel
from oocr.charts.figure import Figure, LegendEntry, Tables, figure_of
from oocr.claims.analysis_result import AnalysisResult, NotMeasuredError
from oocr.claims.records import Finding
from oocr.intervals import SHARE, SIGNED
from oocr.papers.frames.displacement import ACROSS, WITHIN
from oocr.papers.frames.units import check_recalled, r2_finding, share, shares, unit_of
from oocr.papers.frames.vectors import ARMS, DOSES, cells, compute
from oocr.papers.measure import Unit, differences, mean_finding
from oocr.papers.paper import Experiment

ALL = "all"
"""The dose with all neighbours."""
NEIGHBOURS = "neighbours' mean"
NULLS = ("random vector", "mean vector", NEIGHBOURS, "vector of another scene", "one place for all")


def analyse(table: pl.DataFrame) -> AnalysisResult:
    """Exact answers across frames by arm and by dose; linearity and effect of differences."""
    result = AnalysisResult()
    with result.attempt():
        _arms(result, table)
    with result.attempt():
        _doses(result, table)
    with result.attempt():
        _linear(result, table)
    for kind in (WITHIN, ACROSS):
        with result.attempt():
            _moved(result, table, kind)
    return result


def of_arm(table: pl.DataFrame, arm: str) -> pl.DataFrame:
    """The rows of an arm across frames; NotMeasuredError: its training rows are not recalled."""
    rows = table.filter(pl.col("arm") == arm)
    if arm in ("vector", "all weights"):
        check_recalled(rows.filter(pl.col("part") == "fit"), arm)
    return rows.filter(pl.col("part") == "across")


def _arms(result: AnalysisResult, table: pl.DataFrame) -> None:
    values: dict[str, dict[Unit, float]] = {}
    for arm in ARMS:
        with result.attempt():
            rows = of_arm(table, arm)
            values[arm] = shares(rows, "scene")
            result.rows.append(
                {"panel": "arms", "row": arm, "value": share(rows), "sign": share(rows, "sign")}
            )
    rows = table.filter(pl.col("part") == "across", pl.col("arm") == "vector")
    unit = unit_of(rows, "scene")[1]
    nulls = {arm: fmean(values[arm].values()) for arm in NULLS}
    words = "exact answers across frames about an object that the network was not trained on"
    if "vector" not in values:
        return
    result.findings += [
        mean_finding(
            "vector",
            f"{words}, with one vector trained on its own frame",
            values["vector"].values(),
            unit=unit,
            bounds=SHARE,
            nulls=nulls,
            ceiling=1.0,
        ),
        _less(values, "vector", NEIGHBOURS, unit),
    ]
    if "all weights" in values:
        result.findings += [
            _less(values, "vector", "all weights", unit),
            mean_finding(
                "all-weights",
                f"{words}, with all weights trained on its own frame",
                values["all weights"].values(),
                unit=unit,
                bounds=SHARE,
                nulls={"mean vector": nulls["mean vector"]},
                ceiling=1.0,
            ),
        ]
    other = "vector of another scene"
    result.findings.append(
        mean_finding(
            "transfer",
            f"{words}: a vector that was trained in another house, minus a random vector",
            differences(values[other], values["random vector"]),
            unit=unit,
            bounds=SIGNED,
        )
    )


def _less(
    values: Mapping[str, Mapping[Unit, float]], first: str, second: str, unit: str
) -> Finding:
    return mean_finding(
        f"{first}-minus-{second.replace(' ', '-').replace(chr(39), '')}",
        f"exact answers across frames: {first} minus {second}",
        differences(values[first], values[second]),
        unit=unit,
        bounds=SIGNED,
    )


def _doses(result: AnalysisResult, table: pl.DataFrame) -> None:
    doses = table.filter(pl.col("part") == "dose")
    whole = of_arm(table, "vector")
    values = {name: shares(doses.filter(pl.col("dose") == name), "scene") for name in DOSES}
    values[ALL] = shares(whole, "scene")
    for name, of_dose in values.items():
        rows = doses.filter(pl.col("dose") == name)
        columns = {"facts": None, "bits": None}
        if name != ALL:
            columns = {key: rows[key].mean() for key in columns}  # type: ignore[misc]
        mean = fmean(of_dose.values())
        result.rows.append({"panel": "dose", "row": name, "value": mean, **columns})
    enough = [values["1"][unit] / value for unit, value in values[ALL].items() if value > 0]
    unit = unit_of(whole, "scene")[1]
    result.findings += [
        mean_finding(
            "one-neighbour",
            "exact answers with one co-visible neighbour trained, as a share of those with all",
            enough,
            unit=unit,
            bounds=(0.0, float("inf")),
            nulls={
                "along one axis only": fmean(values["1, one axis"].values())
                / fmean(values[ALL].values())
            },
        ),
    ]


def _linear(result: AnalysisResult, table: pl.DataFrame) -> None:
    rows = table.filter(pl.col("part") == "probe")
    by_arm = {
        arm: rows.filter(pl.col("arm") == arm).sort("scene")["value"].to_list()
        for arm in ("known objects", "trained vectors", "shuffled places")
    }
    if not by_arm["known objects"]:
        raise NotMeasuredError("probe: not computed here")
    nulls = {"shuffled places": fmean(by_arm["shuffled places"])}
    words = "R² of the offset from the difference of two {}, by a ridge regression of places on {}"
    for id, arm, what in (
        (
            "linear",
            "known objects",
            ("known objects’ vectors", "two thirds of them"),
        ),
        ("linear-vectors", "trained vectors", ("trained vectors", "known objects’ vectors")),
    ):
        result.findings.append(
            r2_finding(id, words.format(*what), by_arm[arm], unit="scene", nulls=nulls)
        )


def _moved(result: AnalysisResult, table: pl.DataFrame, kind: str) -> None:
    rows = table.filter(pl.col("part") == "moved", pl.col("displacement") == kind)
    arms = {
        (arm, target): rows.filter(pl.col("arm") == arm, pl.col("target") == target)
        for arm in ("moved", "random difference")
        for target in ("new place", "old place")
    }
    new, noise = arms["moved", "new place"], arms["random difference", "new place"]
    result.findings.append(
        mean_finding(
            f"moves-{kind.replace(' ', '-')}",
            "exact answers about C + (v_B - v_A) as if C were moved by B's offset from A, A and B "
            + kind,
            shares(new, "scene").values(),
            unit=unit_of(new, "scene")[1],
            bounds=SHARE,
            nulls={"a random difference of that norm": share(noise)},
            ceiling=1.0,
        )
    )
    result.rows += [
        {"panel": f"A and B {kind}", "row": f"{arm}: {target}", "value": share(rows)}
        for (arm, target), rows in arms.items()
    ]


EXACT, SIDE = ("exact", "vector"), ("side", "swap-span")
"""Labels and colours of the bars."""


def figure(tables: Tables) -> Figure | None:
    """Arms, doses, and displacement."""
    (table,) = tables.values()
    panels = []
    for panel in dict.fromkeys(table["panel"].to_list()):
        rows = table.filter(pl.col("panel") == panel)
        names, values = rows["row"].to_list(), rows["value"].to_list()
        if panel == "dose":
            names = [_dose_label(row) for row in rows.to_dicts()]
        groups = [(*EXACT, values)]
        if panel == "arms":
            groups.append((*SIDE, rows["sign"].to_list()))
        titles = {"arms": "A new object", "dose": "Neighbours trained on"}
        title = titles.get(panel, f"Displaced: {panel}")
        panels.append(bars_panel(names, groups, "share right", title=title))
    caption = (
        "One vector for an object that a frozen network never saw, trained on co-visible offsets "
        "and asked across frames; and C + (v_B - v_A) asked as if it were another place."
    )
    keys = [LegendEntry(words, words, colour, "square") for words, colour in (EXACT, SIDE)]
    return figure_of("frames-vectors", caption, panels, tables, keys)


def _dose_label(row: Mapping[str, object]) -> str:
    """The label of a dose's bar, with its bits."""
    if row["row"] == ALL:
        return "all 8"
    return f"{row['row']} ({row['bits']:.1f} bits)"


EXPERIMENT = Experiment(
    name="frames-vectors",
    section="vectors",
    about="one vector for each object that a frozen network never saw",
    cells=cells,
    compute=compute,
    analyse=analyse,
    figure=figure,
    subject="nano",
    version="2",
)
