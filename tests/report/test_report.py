"""The report: everything is there, says what the data say, is safe, and stands alone."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from plotly.offline import get_plotlyjs
from rich.console import Console

from oocr.charts.figure import script_json
from oocr.charts.pieces import number
from oocr.claims.records import Claim, Estimate, Null
from oocr.errors import InputError
from oocr.report.page import slugs
from oocr.report.run_page import build_report
from oocr.report.terminal import verdict_table
from oocr.report.verdicts import scale_of
from oocr.runs.folder import RunFolder
from tests.report.fake_run import fake_run
from tests.report.report_page import SMALL, Page, page_of, strings

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"&'--><!--"
SECTIONS = [
    *("examples", "scores", "members", "training", "selection"),
    *("constancy", "swap", "side-effects", "settings"),
]
COUNTRIES_FIGURES = {
    *("scores", "members", "planted", "training", "training-facets"),
    *("selection", "constancy", "tokens", "swap", "side-effects"),
}


def test_every_section_and_figure_with_its_data(countries: Path, built: Page) -> None:
    assert built.sections() == SECTIONS
    figures = {Path(str(a["href"])).stem for a in built.of_class("data")}
    assert figures == COUNTRIES_FIGURES
    for link in built.of_class("data"):
        assert pl.read_parquet(countries / str(link["href"])).height > 0
    assert {path.name for path in (countries / "figures").iterdir()} == {
        f"{name}.parquet" for name in figures
    }
    assert len(built.ids()) == len(set(built.ids()))


def test_header_says_model_licence_and_what_was_done(built: Page) -> None:
    assert "Is this fine-tune just a steering vector?" in built.text
    for text in ("fake-model-0m", "no licence needed", "Synthetic data", "oocr run countries"):
        assert text in built.text


def test_title_can_be_chosen(countries: Path, tmp_path: Path) -> None:
    build_report([countries], tmp_path / "report.html", title="Does it < hold?")
    assert "Does it &lt; hold?" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_verdicts_are_words_and_failures_are_as_large_as_successes(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", **SMALL)
    claims = with_each_verdict(RunFolder(run).claims)
    (run / "claims.json").write_text(json.dumps([claim.model_dump() for claim in claims]))
    page = page_of(run, out=tmp_path / "report.html")
    rows = [a for t, a in page.tags if t == "tbody" and "claim" in str(a.get("class")).split()]
    assert len(rows) == len(claims)
    assert [str(a["class"]).split()[0] for a in rows] == ["claim"] * len(claims)
    for claim in claims:
        assert claim.verdict in page.text
        estimate = claim.found
        interval = f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]"
        assert interval in page.text
        for null in claim.nulls:
            assert f"{null.name} {number(null.value)}" in page.text


def with_each_verdict(claims: Sequence[Claim]) -> list[Claim]:
    verdicts = ("holds", "holds in part", "does not hold", "cannot be tested")
    assert len(claims) >= len(verdicts)
    return [
        claim.model_copy(update={"verdict": verdicts[place % len(verdicts)]})
        for place, claim in enumerate(claims)
    ]


def test_stands_alone(countries: Path, built: Page) -> None:
    html = (countries / "report.html").read_text(encoding="utf-8")
    assert html.count(get_plotlyjs()) == 1
    for tag, attrs in built.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert not re.match(r"\s*(https?:|//)", attrs.get(name) or ""), (tag, attrs)
        assert tag not in {"link", "iframe", "img", "object", "embed"}
    written = html.replace(get_plotlyjs(), "")
    assert "@import" not in written
    assert not re.search(r"url\(\s*['\"]?(https?:)?//", written)
    assert "default-src 'none'" in written


def test_phone_and_themes(countries: Path) -> None:
    html = (countries / "report.html").read_text(encoding="utf-8")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    phone = html.split("@media (max-width: 760px)")[1]
    assert ".span-2, .span-3, .span-4 { grid-column: span 6; }" in phone
    assert "prefers-color-scheme: dark" in html


def test_colours_of_figures_exist_in_both_themes(built: Page, countries: Path) -> None:
    html = (countries / "report.html").read_text(encoding="utf-8")
    used = {
        text[1:].split("/")[0]
        for spec in built.specs()
        for text in strings(spec)
        if re.fullmatch(r"@[a-z0-9-]+(/[0-9.]+)?", text)
    }
    assert {"vector", "adapter", "ink", "heat-0"} <= used
    light = html.split(":root {")[1].split("}")[0]
    auto = html.split(':root:not([data-theme="light"]) {')[1].split("}")[0]
    chosen = html.split(':root[data-theme="dark"] {')[1].split("}")[0]
    for name in used - {"none"}:
        for theme in (light, auto, chosen):
            assert re.search(rf"--{name}: #[0-9a-f]{{6}};", theme), name


@pytest.mark.parametrize("family", ["countries", "backdoor", "risk"])
def test_hostile_texts_stay_text(family: str, tmp_path: Path) -> None:
    plain = page_of(fake_run(tmp_path / "plain", family, **SMALL), out=tmp_path / "plain.html")
    run = fake_run(tmp_path / "hostile", family, hostile=HOSTILE, **SMALL)
    page = page_of(run, out=tmp_path / "hostile.html")
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    for _, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")]
    assert "alert(1)" in page.text  # shown as text
    for spec in page.specs():
        for text in strings(spec):
            assert not re.search(r"<(?!/?b>|br>)", text), text
    for link in page.of_class("data"):
        assert re.fullmatch(r"figures/[a-z-]+\.parquet", str(link["href"]))


def test_script_json_cannot_leave_its_element() -> None:
    text = str(script_json({"a": "</script><!--\u2028&", "b": [float("nan"), 1.0]}))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--\u2028&", "b": [None, 1.0]}


@pytest.mark.parametrize(
    ("file", "sections"),
    [
        ("rows.parquet", {"scores", "members", "swap"}),
        ("examples.json", {"examples"}),
        ("selection.json", {"selection"}),
        ("side_effects.parquet", {"side-effects"}),
        ("claims.json", set()),
        ("config.yaml", set()),
        ("history.parquet", set()),
    ],
)
def test_sections_without_data_are_dropped(file: str, sections: set[str], tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", **SMALL)
    (run / file).unlink()
    page = page_of(run, out=tmp_path / "report.html")
    assert page.sections() == [name for name in SECTIONS if name not in sections]
    assert ("verdicts" in page.ids()) is (file != "claims.json")
    figures = page.of_class("figure")
    assert len(page.of_class("data")) == len(figures)


def test_only_run_json_is_needed(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", **SMALL)
    for path in run.iterdir():
        if path.name != "run.json":
            path.unlink()
    page = page_of(run, out=tmp_path / "report.html")
    assert page.sections() == ["settings"]
    assert not page.of_class("figure")


@pytest.mark.parametrize("arm", ["vector", "adapter", "base", "ceiling", "swap at span"])
def test_missing_arms_leave_no_trace(arm: str, tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", **SMALL)
    rows = pl.read_parquet(run / "rows.parquet").filter(pl.col("arm") != arm)
    rows.write_parquet(run / "rows.parquet")
    page = page_of(run, out=tmp_path / "report.html")
    table = pl.read_parquet(tmp_path / "figures" / "scores.parquet")
    assert arm not in table["arm"]
    assert ("swap" in page.sections()) is (arm != "adapter")


def test_missing_columns_drop_what_needs_them(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", **SMALL)
    rows = pl.read_parquet(run / "rows.parquet").drop("chosen", "tag_against")
    rows.write_parquet(run / "rows.parquet")
    constancy = pl.read_parquet(run / "constancy.parquet").drop("rank1", "norm_cv")
    constancy.write_parquet(run / "constancy.parquet")
    page = page_of(run, out=tmp_path / "report.html")
    assert "members" not in page.sections()
    assert {"scores", "constancy"} <= set(page.sections())
    assert "rank-1 share" not in page.text


def test_arms_that_stop_on_their_own_are_shown_so(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", "borders", **SMALL)
    chosen = json.loads((run / "selection.json").read_text())
    for choice in chosen["grid"]:
        choice["step"] = 0
    (run / "selection.json").write_text(json.dumps(chosen))
    page = page_of(run, out=tmp_path / "report.html")
    shown = [text for spec in page.specs() for text in strings(spec)]
    assert "own stopping point" in shown


def test_several_runs_share_one_verdict_table(countries: Path, tmp_path: Path) -> None:
    risk = fake_run(tmp_path / "risk", "risk", **SMALL)
    page = page_of(countries, risk, countries, out=tmp_path / "report.html")
    assert len([tag for tag, _ in page.tags if tag == "table"]) == 1
    counts = [len(RunFolder(run).claims) for run in (countries, risk, countries)]
    assert min(counts) > 0
    assert len(page.of_class("claim")) == sum(counts)
    assert len(page.of_class("chapter")) == 3
    assert len(page.ids()) == len(set(page.ids()))
    for link in page.of_class("data"):
        assert (tmp_path / str(link["href"])).is_file()
    names = [str(link["href"]) for link in page.of_class("data")]
    assert len(names) == len(set(names))


def test_examples_mark_the_expected_answer(built: Page) -> None:
    assert [tag for tag, _ in built.tags].count("mark") > 0
    assert "language of Northmark" in built.text
    card = built.text.split("expected: language of Northmark", 1)[1]
    assert card.index("untouched model") < card.index("as everybody there knows")


def test_incomplete_runs_say_so(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", **SMALL)
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "complete": False}))
    assert "not complete" in page_of(run, out=tmp_path / "report.html").text


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    with pytest.raises(InputError, match="at least one"):
        build_report([], out)
    with pytest.raises(InputError, match=r"holds no run\.json"):
        build_report([tmp_path], out)
    run = fake_run(tmp_path / "run", **SMALL)
    claims = json.loads((run / "claims.json").read_text())
    (run / "claims.json").write_text(json.dumps([{**claims[0], "verdict": "maybe"}]))
    with pytest.raises(InputError, match=r"claims\.json, field verdict"):
        build_report([run], out)
    (run / "claims.json").write_text("[")
    with pytest.raises(InputError, match=r"claims\.json is not JSON"):
        build_report([run], out)
    (run / "claims.json").write_text("[]")
    (run / "rows.parquet").write_text("no")
    with pytest.raises(InputError, match=r"rows\.parquet is not a Parquet file"):
        build_report([run], out)
    assert not out.exists()


def test_terminal_table_fits_80_columns(countries: Path) -> None:
    claims = with_each_verdict(RunFolder(countries).claims)
    claims[0] = claims[0].model_copy(update={"claim": "[red]odd[/red] claim"})
    estimate, null = claims[0].found, claims[0].nulls[0]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(verdict_table(claims))
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    for phrase in (
        "[red]odd[/red]",
        f"[{number(estimate.low)}, {number(estimate.high)}]",
        number(estimate.value),
        number(null.value),
        "ceiling",
        "✓ holds",
        "✕ does not hold",
        "4 members",
    ):
        assert phrase in text


def test_a_claim_is_two_lines_of_80_columns_and_its_nulls_are_one() -> None:
    names = ("20 random directions, 95th centile", "shuffled training", "decorrelated training")
    claim = Claim(
        id="swap-at-span",
        claim="The LoRA's mean difference, added at the same tokens as the trained vector, does "
        "what the LoRA does",
        measure="share kept",
        found=Estimate(value=-0.0035, low=-0.0123, high=0.0055, n="8 members × 3 seeds"),
        base=0.0,
        nulls=tuple(Null(name=name, value=0.25) for name in names),
        ceiling=1.0,
        verdict="cannot be tested",
        rule="",
        command="",
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(verdict_table([claim]))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert len(lines) == 2 + 4, "a rule above and below, the claim, its numbers, its nulls"
    assert "".join(lines).count(claim.verdict) == 1
    (nulls,) = [line for line in lines if "random" in line]
    assert nulls.endswith("nulls: random 0.25 · shuffled 0.25 · decorrelated 0.25")
    words = " ".join(line[24:] for line in lines[1:3]).split()
    assert words == claim.claim.split(), "no word is broken"


def test_verdict_scales_hold_every_mark(countries: Path) -> None:
    claims = RunFolder(countries).claims
    wide = Claim.model_validate(
        {
            **claims[0].model_dump(),
            "found": {"value": 1.3, "low": -0.2, "high": 2.4, "n": "2"},
            "base": 0.0,
        }
    )
    for claim in [*claims, wide]:
        scale = scale_of(claim)
        assert scale is not None
        places = [scale.at, scale.low, scale.high, *(mark.at for mark in scale.marks)]
        assert all(0 <= place <= 100 for place in places)
        assert scale.low <= scale.at <= scale.high
    first = scale_of(claims[0])
    assert first is not None
    assert (first.low_end, first.high_end) == (0.0, 1.0)


def test_names_become_different_addresses() -> None:
    names = slugs(["A run", "a-run", "../../etc", "<b>", "", "a run"])
    assert len(set(names)) == 6
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)
