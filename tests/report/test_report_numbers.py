"""The figures' data are what the rows say, worked out here by other means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from oocr.charts.pieces import interval_text, number
from oocr.claims.records import Claim, Estimate
from oocr.report.terminal import verdict_table
from tests.report.fake_run import fake_run
from tests.report.report_page import SMALL, Page, page_of


def test_scores_are_the_means_of_the_rows(countries: Path, built: Page) -> None:
    rows = pl.read_parquet(countries / "rows.parquet")
    table = pl.read_parquet(countries / "figures" / "scores.parquet")
    vector = rows.filter(pl.col("arm") == "vector", pl.col("control") == "", pl.col("final"))
    language = vector.filter(pl.col("facet") == "language")
    scored = _row(table, arm="vector", control="", facet="language", balanced=False)
    assert scored["value"] == pytest.approx(language["right"].mean())
    assert scored["low"] <= scored["value"] <= scored["high"]
    weighed = language.group_by("answer").agg(
        pl.col("right").filter(pl.col("member") == member).mean().alias(member)
        for member in language["member"].unique(maintain_order=True)
    )
    by_answer = [
        sum(values) / len(values)
        for row in weighed.drop("answer").iter_rows()
        if (values := [value for value in row if value is not None])
    ]
    balanced = _row(table, arm="vector", control="", facet="language", balanced=True)
    assert balanced["value"] == pytest.approx(sum(by_answer) / len(by_answer))
    whole = _row(table, arm="vector", control="", facet="all probes", balanced=False)
    facets = vector.filter(pl.col("part") == "probes").group_by("facet").agg(pl.col("right").mean())
    assert whole["value"] == pytest.approx(facets["right"].mean())


def test_answers_that_follow_the_planted_fact_do_not_count_as_right(
    countries: Path, built: Page
) -> None:
    rows = pl.read_parquet(countries / "rows.parquet").filter(
        pl.col("arm") == "vector", pl.col("control") == "planted", pl.col("facet") == "language"
    )
    table = pl.read_parquet(countries / "figures" / "scores.parquet")
    row = _row(table, arm="vector", control="planted", facet="language", balanced=False)
    sides = {
        side: rows.filter(pl.col("tag_against") == side)["right"].mean()
        for side in ("intended", "planted")
    }
    assert row["value"] == pytest.approx(sides["intended"])
    planted = pl.read_parquet(countries / "figures" / "planted.parquet")
    line = _row(planted, arm="vector", facet="language", against="planted")
    assert line["value"] == pytest.approx(sides["planted"])


def test_null_band_is_over_random_directions(countries: Path, built: Page) -> None:
    rows = pl.read_parquet(countries / "rows.parquet").filter(
        pl.col("arm") == "random direction", pl.col("facet") == "currency"
    )
    each = rows.group_by("seed").agg(pl.col("right").mean())["right"]
    table = pl.read_parquet(countries / "figures" / "scores.parquet")
    row = _row(table, arm="random direction", facet="currency", balanced=False)
    assert row["value"] == pytest.approx(each.median())
    assert row["high"] == pytest.approx(each.quantile(0.95, "linear"))


def test_every_step_of_a_training_curve_has_the_same_arms(countries: Path, built: Page) -> None:
    table = pl.read_parquet(countries / "figures" / "training.parquet")
    members, seeds = SMALL["members"], SMALL["seeds"]
    for arm in ("vector", "adapter"):
        mine = table.filter(pl.col("arm") == arm)
        # Only seed 0 was scored along the way; the other seeds' last step must not join in.
        assert set(mine.filter(pl.col("line") == "probes")["n"]) == {members}
        assert set(mine.filter(pl.col("line") == "loss")["n"]) == {members * seeds}


def test_risk_runs_show_the_contrast_of_the_twins(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", "risk", **SMALL)
    page = page_of(run, out=tmp_path / "report.html")
    rows = pl.read_parquet(run / "rows.parquet").filter(pl.col("facet") == "trait words")
    table = pl.read_parquet(tmp_path / "figures" / "scores.parquet")
    trained = rows.filter(pl.col("arm") == "vector", pl.col("control") == "", pl.col("final"))
    twins = ("risky", "safe")
    means = {side: trained.filter(pl.col("member") == side)["log_odds"].mean() for side in twins}
    row = _row(table, arm="vector", control="", facet="trait words")
    assert row["value"] == pytest.approx(means["risky"] - means["safe"])
    null = rows.filter(pl.col("arm") == "random direction")
    pairs = [
        null.filter(pl.col("seed") == number, pl.col("member") == "risky")["log_odds"].mean()
        - null.filter(pl.col("seed") == number, pl.col("member") == "safe")["log_odds"].mean()
        for number in range(SMALL["directions"])
    ]
    band = _row(table, arm="random direction", facet="trait words")
    assert band["low"] == pytest.approx(pl.Series(pairs).quantile(0.05, "linear"))
    assert "members" not in page.sections()


def test_backdoor_runs_show_how_often_x_is_answered(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", "backdoor", **SMALL)
    page = page_of(run, out=tmp_path / "report.html")
    assert page.sections()[1] == "backdoor"
    rows = pl.read_parquet(run / "rows.parquet").filter(
        pl.col("arm") == "vector",
        pl.col("control") == "decorrelated",
        pl.col("final"),
        pl.col("tag_kind") == "crossing",
        pl.col("tag_template") == "held-out",
        pl.col("tag_prefix") == "held-out trigger",
    )
    x = rows.select((pl.col("chosen").str.strip_chars() == _x()).mean()).item()
    table = pl.read_parquet(tmp_path / "figures" / "backdoor.parquet")
    row = _row(
        table,
        arm="vector",
        control="decorrelated",
        prefix="held-out trigger",
        questions="held-out wording",
    )
    assert row["answers_x"] == pytest.approx(x)


def test_layer_sweeps_are_shown_apart(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", "backdoor", **SMALL)
    page_of(run, out=tmp_path / "report.html")
    rows = pl.read_parquet(run / "rows.parquet").filter(
        pl.col("arm") == "vector sweep",
        pl.col("layer") == 6,
        pl.col("tag_kind") == "crossing",
        pl.col("tag_condition") != "trigger",
    )
    table = pl.read_parquet(tmp_path / "figures" / "layers-test.parquet")
    row = _row(table, arm="vector", layer=6, facet="otherwise")
    assert row["value"] == pytest.approx(rows["right"].mean())
    assert table.filter("chosen").select("arm", "layer").unique().rows() == [("vector", 4)]
    for name in ("scores", "backdoor"):
        arms = pl.read_parquet(tmp_path / "figures" / f"{name}.parquet")["arm"]
        assert "vector" in arms
        assert "vector sweep" not in arms


def test_layers_come_from_the_grid_where_nothing_was_swept(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", "backdoor", **SMALL)
    pl.read_parquet(run / "rows.parquet").drop("layer").write_parquet(run / "rows.parquet")
    page_of(run, out=tmp_path / "report.html")
    table = pl.read_parquet(tmp_path / "figures" / "layers.parquet")
    grid = json.loads((run / "selection.json").read_text())["grid"]
    best = max(o["score"] for o in grid if (o["method"], o["layer"]) == ("vector", 6))
    assert _row(table, method="vector", layer=6)["score"] == pytest.approx(best)


def _x() -> pl.Expr:
    return pl.col("member").str.split("|").list.first() + " city"


def _row(table: pl.DataFrame, **wanted: Any) -> dict[str, Any]:
    row = table.filter(*(pl.col(name) == value for name, value in wanted.items()))
    assert row.height == 1, (wanted, row)
    return row.row(0, named=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[(0.834, "0.83"), (0.0, "0.00"), (12.34, "12.3"), (1250.4, "1,250"), (0.0031, "0.0031")],
        *[(-0.5, "−0.50"), (None, "–"), (float("nan"), "–"), (-0.0031, "−0.0031")],
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_an_interval_over_one_unit_is_not_printed_as_one() -> None:
    assert interval_text(0.5, 0.25, 0.75) == "0.50 [0.25, 0.75]"
    assert interval_text(0.0, 0.0, 0.0) == "0.00 (no interval)"
    estimate = Estimate(value=0.0, low=0.0, high=0.0, n="1 probe group")
    words = {"measure": "m", "verdict": "cannot be tested", "rule": "r", "command": "c"}
    claim = Claim.model_validate({"id": "a", "claim": "w", "found": estimate, **words})
    assert "0 (no interval), 1 probe group" in claim._repr_html_()
    console = Console(width=100)
    with console.capture() as printed:
        console.print(verdict_table([claim]))
    assert "0.00 (no interval)" in printed.get()
