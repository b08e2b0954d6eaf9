"""How rows become the score: merged and excluded facets, twins, shares kept, notebooks."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from oocr.claims.records import Claim, Estimate, Finding, Null
from oocr.errors import InputError
from oocr.evals.score_table import COUNTED, Scores
from oocr.evals.scores import Scoring
from oocr.families.registry import load_task, load_tasks
from oocr.stats import mean

MEMBERS = ("a", "b", "c", "d")


def rows(arm: str, right: dict[tuple[str, str], float], *, seed: int = 0) -> pl.DataFrame:
    """Ten rows for each (member, facet), of which a share is right.

    Facet "food" has one answer for a, b and c and another for d; "river" one for each.
    """
    lines = []
    for (member, facet), share in right.items():
        answer = ("rice" if member != "d" else "bread") if facet == "food" else member
        lines += [
            {"arm": arm, "control": "", "part": "probes", "member": member, "seed": seed}
            | {"final": True, "facet": facet, "group": f"{facet}/{number}", "answer": answer}
            | {"item": f"{member}/{facet}/{number}", "right": number < round(10 * share)}
            for number in range(10)
        ]
    return pl.DataFrame(lines)


def scoring(**counted: str) -> Scoring:
    return Scoring(measure="accuracy", cluster="member", counted=counted)


def test_facets_of_one_name_are_balanced_by_the_answers_of_each() -> None:
    # Says "rice" to every food and knows no river: right on one of six answers, not on 3 of 8.
    right = {(member, "food"): float(member != "d") for member in MEMBERS}
    right |= {(member, "river"): 0.0 for member in MEMBERS}
    table = rows("vector", right)
    merged = scoring(food="one", river="one").cells(table, "vector")
    assert merged is not None
    assert merged.facets == ("one",)
    assert mean(merged) == pytest.approx(1 / 6)
    apart = scoring().cells(table, "vector")
    assert apart is not None
    assert mean(apart) == pytest.approx((1 / 2 + 0) / 2)


def test_merging_facets_whose_members_have_the_same_answer_weighs_rows_alike() -> None:
    right = {(m, f): s for m in MEMBERS for f, s in (("river", 1.0), ("tower", 0.4))}
    table = rows("vector", right)
    few = table.filter(~pl.col("item").str.contains("tower/[5-9]"))  # five rows, four of them right
    merged = scoring(river="one", tower="one").cells(few, "vector")
    assert merged is not None
    assert mean(merged) == pytest.approx((10 + 4) / 15)


def test_facets_that_do_not_count_are_in_no_score_but_in_the_table() -> None:
    right = {(m, f): s for m in MEMBERS for f, s in (("river", 0.8), ("inverse", 0.1))}
    scores = Scores(rows("vector", right), scoring(river="river"))
    assert scores.accuracy("vector").value == pytest.approx(0.8)
    shown = scores.table().select("facet", "counted", "items", "vector").rows()
    assert shown == [
        (COUNTED, True, 40, 0.8),
        ("inverse", False, 40, 0.1),
        ("river", True, 40, 0.8),
    ]
    assert "inverse (does not count)" in scores._repr_html_()


def test_a_share_of_an_effect_needs_an_effect() -> None:
    right = {"base": 0.1, "adapter": 0.9, "swap everywhere": 0.5}
    table = pl.concat(
        [rows(arm, dict.fromkeys([(m, "river") for m in MEMBERS], s)) for arm, s in right.items()]
    )
    share = scoring().share_kept(table, "swap everywhere")
    assert share is not None
    assert share.value == pytest.approx(0.5)
    assert scoring().share_kept(table, "adapter", "base") is None, "no effect over itself"
    assert scoring().share_kept(table, "vector") is None, "no such arm"


def test_families_say_how_they_are_scored() -> None:
    twins = Scoring.of(load_tasks({"family": "nano", "part": "risk"}))
    assert (twins.measure, twins.cluster) == ("contrast", "group")
    assert twins.poles == {"": ("risky", "safe"), "shuffled": ("shuffled", "shuffled opposite")}
    gated = Scoring.of(load_tasks({"family": "nano", "part": "backdoor", "members": 2}))
    assert gated.balance is None
    assert not gated.counts("inverse")
    tasks = load_tasks("locations")
    assert not Scoring.of(tasks).counts("inverse")
    assert "inverse" in {item.facet for item in tasks.test[0].probes}
    alone = Scoring.of(load_task("locations", city="Tokyo"))
    assert not alone.counts("inverse"), "a task that is scored alone counts the same facets"


def test_a_folder_without_its_scoring_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no rows\.parquet"):
        Scores.read(tmp_path)
    rows("vector", {("a", "river"): 1.0}).write_parquet(tmp_path / "rows.parquet")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"oocr run .*config\.yaml` writes it again"):
        Scores.read(tmp_path)


def test_an_arm_without_rows_is_named() -> None:
    scores = Scores(rows("vector", {("a", "river"): 1.0}), scoring())
    with pytest.raises(InputError, match=r"arm 'lora'.*arms: 'steering vector'"):
        scores.accuracy("lora")


def test_findings_and_claims_are_tables_in_a_notebook() -> None:
    number = Estimate(value=0.5, low=0.25, high=0.75, n="4 members")
    finding = Finding(id="x", measure="share", found=number, nulls=(Null(name="noise", value=0.1),))
    assert "0.5 [0.25, 0.75], 4 members" in finding._repr_html_()
    assert "noise" in finding._repr_html_()
    claim = Claim(
        id="x",
        claim="<it> works",
        measure="share",
        found=number,
        verdict="holds",
        rule="r",
        command="c",
    )
    assert "&lt;it&gt; works" in claim._repr_html_()
    assert "holds" in claim._repr_html_()


def test_twins_are_scored_alike_in_table_and_verdict() -> None:
    twins = Scoring(
        measure="contrast",
        cluster="group",
        counted={"scale": "scale"},
        poles={"": ("risky", "safe")},
    )
    lines = [
        {"arm": arm, "control": "", "part": "probes", "member": member, "seed": seed}
        | {"final": True, "facet": facet, "group": f"{facet}/{number}", "answer": "A"}
        | {"item": f"{member}/{facet}/{number}", "right": True}
        | {"log_odds": sign * size * (1 + 0.1 * number + 0.2 * seed)}
        for arm, size, seeds in (("vector", 1.0, 2), ("random direction", 0.1, 4))
        for member, sign in (("risky", 1), ("safe", -1))
        for facet in ("scale", "other: hobby")
        for number in range(8)
        for seed in range(seeds)
    ]
    table = pl.DataFrame(lines)
    interval = twins.interval(twins.rows(table, "vector"))
    assert interval is not None
    shown = Scores(table, twins).intervals()
    (line,) = shown.filter(pl.col("arm") == "vector", pl.col("facet") == COUNTED).rows(named=True)
    assert (line["value"], line["low"], line["high"]) == (
        interval.value,
        interval.low,
        interval.high,
    )
    assert line["value"] == pytest.approx(2 * (1 + 0.35 + 0.1))
    (band,) = shown.filter(pl.col("arm") == "random direction", pl.col("facet") == COUNTED).rows(
        named=True
    )
    assert band["value"] == pytest.approx(pl.Series(twins.random_scores(table)).median())
