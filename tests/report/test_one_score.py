"""One score: verdicts, claims.json, the page's figures, the terminal and a notebook say the same.

A small real run on the shipped organism: members that share answers, facets that do not count,
facets that count under one name. All of these made the places disagree before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from oocr.charts.pieces import number
from oocr.runs.config import RunConfig
from tests.report.report_page import Page, page_of
from tests.tiny.runs import claims_of, oocr

SETTINGS: dict[str, Any] = {
    "name": "one-score",
    "task": {"family": "nano", "part": "locations", "members": 4},
    "model": "nano",
    "device": "cpu",
    "vector": {
        **{"layers": [0], "learning_rates": [0.1], "steps": [60]},
        **{"decay": "linear", "positions": "codename"},
    },
    "adapter": {
        **{"layers": [0], "learning_rates": [0.01], "steps": [40], "decay": "linear", "rank": 4},
        "modules": ["gate_proj", "up_proj", "down_proj"],
    },
    "seeds": 2,
    "workers": 1,
    "controls": {"random_directions": 6},
    "explain": {"neutral_tokens": 16, "examples": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from oocr.models.load import read_model
    from oocr.runs.run import run

    out = tmp_path_factory.mktemp("runs")
    return run(RunConfig.model_validate(SETTINGS), read_model("nano"), out)


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return page_of(folder, out=folder / "report.html")


def test_figures_say_what_the_claims_say(folder: Path, page: Page) -> None:
    claims = {claim.id: claim for claim in claims_of(folder)}
    scores = pl.read_parquet(folder / "figures" / "scores.parquet")
    whole = scores.filter(pl.col("facet") == "all probes that count", pl.col("balanced"))
    for arm in ("vector", "adapter"):
        claim = claims[f"{arm}-out-of-context"]
        line = whole.row(
            by_predicate=(pl.col("arm") == arm) & (pl.col("control") == ""), named=True
        )
        estimate = claim.found
        assert (line["value"], line["low"], line["high"]) == pytest.approx(
            (estimate.value, estimate.low, estimate.high), abs=1e-12
        )
        control = whole.row(
            by_predicate=(pl.col("arm") == arm) & (pl.col("control") == "shuffled"), named=True
        )
        shuffled = next(null for null in claim.nulls if null.name.startswith("shuffled"))
        assert control["value"] == pytest.approx(shuffled.value, abs=1e-12)
        for name, value in (("base", claim.base), ("ceiling", claim.ceiling)):
            line = whole.row(by_predicate=pl.col("arm") == name, named=True)
            assert line["value"] == pytest.approx(value, abs=1e-12)
        band = whole.row(by_predicate=pl.col("arm") == "random direction", named=True)
        assert band["high"] == pytest.approx(claim.nulls[0].value, abs=1e-12)


def test_the_swap_figure_says_what_the_claims_say(folder: Path, page: Page) -> None:
    claims = {claim.id: claim for claim in claims_of(folder)}
    swap = pl.read_parquet(folder / "figures" / "swap.parquet")
    shares = swap.filter(pl.col("row") == "recovery")
    assert set(shares["arm"]) == {"swap at span", "swap everywhere"}
    for line in shares.iter_rows(named=True):
        estimate = claims[line["arm"].replace(" ", "-")].found
        assert (line["score"], line["low"], line["high"]) == pytest.approx(
            (estimate.value, estimate.low, estimate.high), abs=1e-12
        )
    line = swap.row(
        by_predicate=(pl.col("arm") == "adapter") & (pl.col("row") == "all probes that count"),
        named=True,
    )
    assert line["score"] == pytest.approx(claims["adapter-out-of-context"].found.value, abs=1e-12)


def test_a_notebook_says_what_the_claims_say(folder: Path) -> None:
    from oocr.evals.score_table import Scores

    claims = {claim.id: claim for claim in claims_of(folder)}
    scores = Scores.read(folder)
    for arm in ("vector", "adapter"):
        estimate = claims[f"{arm}-out-of-context"].found
        interval = scores.accuracy(arm)
        assert (interval.value, interval.low, interval.high) == pytest.approx(
            (estimate.value, estimate.low, estimate.high), abs=1e-12
        )
        table = scores.table().filter(pl.col("part") == "probes")
        line = table.row(by_predicate=pl.col("facet") == "all probes that count", named=True)
        assert line[arm] == pytest.approx(estimate.value, abs=1e-12)
    for arm in ("swap at span", "swap everywhere"):
        estimate = claims[arm.replace(" ", "-")].found
        interval = scores.share_kept(arm)
        assert (interval.value, interval.low, interval.high) == pytest.approx(
            (estimate.value, estimate.low, estimate.high), abs=1e-12
        )


def test_terminal_and_page_print_the_same_numbers(folder: Path, page: Page) -> None:
    claims = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    shown = oocr("show", folder)
    assert shown.returncode == 0, shown.stderr
    for claim in claims:
        estimate = claim["found"]
        ends = f"[{number(estimate['low'])}, {number(estimate['high'])}]"
        assert ends in shown.stdout
        assert ends in page.text
        assert number(estimate["value"]) in shown.stdout
