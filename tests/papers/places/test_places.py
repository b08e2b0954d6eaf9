"""The page that ties the papers together: other experiments' findings on one scale."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import polars as pl
import pytest

from oocr.claims.page_claims import KeptAnalysis
from oocr.papers import PAPERS
from oocr.papers.execute import ExperimentResult
from oocr.papers.measure import mean_finding
from oocr.papers.ockr.experiments import places as ockr_places
from oocr.papers.ocr.toy.experiments import places as toy_places
from oocr.papers.places import PAPER
from oocr.papers.places.effects import effect_of, effects
from oocr.papers.places.settings import SETTINGS, Setting
from oocr.papers.places.summary import SUMMARY, analyse
from oocr.report.papers_page import build_paper_page

RANK = Setting("r", "ranks", map_known=True, best=0.0)
SHARE = Setting("s", "shares", map_known=True, best=1.0)


def kept(name: str, **ranks: list[float]) -> KeptAnalysis:
    """Mean ranks among five by finding."""
    findings = [
        mean_finding(id.replace("_", "-"), id, values, bounds=(0, 4), nulls={"chance": 2.0})
        for id, values in ranks.items()
    ]
    return KeptAnalysis(name=name, key="", model="m", findings=tuple(findings))


def analyses() -> dict[str, dict[str, KeptAnalysis]]:
    zero, chance = [0.0, 0.2, 0.1, 0.1], [2.0, 1.8, 2.2, 2.0]
    language = kept(
        "ocr-language",
        city_vectors=zero,
        city_vectors_all_tokens=chance,
        city_full=zero,
        code_vectors=chance,
        code_full=zero,
    )
    blocks = kept(
        "ocr-blocks",
        code_full_vectors_early=[0.4, 0.6, 0.5, 0.5],
        code_full_vectors_output=chance,
    )
    return {"ocr-language": {"m": language, "n": language}, "ocr-blocks": {"m": blocks}}


def test_the_scale_is_zero_at_chance_and_one_at_best() -> None:
    rank = mean_finding("r", "", [0.5, 1.5, 1.0], bounds=(0, 4), nulls={"chance": 2.0})
    effect = effect_of(RANK, "", "weights", rank)
    assert effect.value == pytest.approx(0.5)
    assert effect.low < effect.value < effect.high
    share = mean_finding("s", "", [0.6, 0.6, 0.6], bounds=(0, 1), nulls={"chance": 0.2})
    assert effect_of(SHARE, "", "weights", share).value == pytest.approx(0.5)
    bare = mean_finding("s", "", [0.6, 0.6, 0.6])
    with pytest.raises(ValueError, match="what chance is"):
        effect_of(SHARE, "", "weights", bare)


def test_settings_read_findings_that_their_experiments_may_have() -> None:
    names = {experiment.name for experiment in PAPER.experiments}
    for setting in SETTINGS:
        assert {name for name, _ in setting.findings.values()} <= names
    shared = {id(e) for p in PAPERS.values() if p is not PAPER for e in p.experiments}
    assert {id(experiment) for experiment in PAPER.experiments} <= shared


def test_early_and_late_are_compared_setting_by_setting() -> None:
    found = {finding.id: finding for finding in analyse(analyses()).findings}
    # city of two models and code with bridges of one; the one without a map is left out.
    assert found["input-vector"].units == 3
    assert found["input-vector"].found.value == pytest.approx((0.95 + 0.95 + 0.75) / 3)
    assert found["early-minus-late"].found.value == pytest.approx((0.95 + 0.95 + 0.75) / 3)
    assert found["output-vector-unlike"].units == 1
    assert found["output-vector"].units == 3
    assert len(effects(analyses())) == 2 * 3 + 2 * 2 + 2
    missing = analyse({"ocr-language": {}, "ocr-blocks": {"m": analyses()["ocr-blocks"]["m"]}})
    assert "vector-minus-weights" in missing.missing


def test_the_page_shows_one_figure_of_all_settings(tmp_path: Path) -> None:
    result = analyse(analyses())
    kept_all = KeptAnalysis(name=SUMMARY.name, key="", model="", findings=result.sound())
    done = ExperimentResult(SUMMARY, "all settings", kept_all, result.table, (), ())
    page = build_paper_page(PAPER, [done], tmp_path / "page.html", command="oocr reproduce")
    html = page.read_text(encoding="utf-8")
    assert "city-language, m" in html
    assert ">What is claimed<" in html
    assert "the paper says" not in html
    assert "a vector, at the input or an early block" in html
    assert (tmp_path / "figures").is_dir()


def toy_table() -> pl.DataFrame:
    names = (
        "input vector",
        "value LoRA, rank 16",
        "weights",
        "output LoRA, rank 16",
        "output vector",
    )
    columns = product(names, ("factorized", "combined"), (True, False), (0, 1, 2), (0, 1))
    return pl.DataFrame(
        [
            {
                **{"place": place, "form": form, "implications": told, "seed": seed, "pair": pair},
                **{"rank": 3.0, "accuracy": 0.0, "fact_accuracy": 1.0},
            }
            for place, form, told, seed, pair in columns
        ]
    )


def ockr_table() -> pl.DataFrame:
    arms = (*ockr_places.PLACE_LABELS, *ockr_places.CONTROL_LABELS)
    columns = product(arms, ("told", "known", "right", "rank"), (0, 1, 2))
    return pl.DataFrame(
        [{"arm": arm, "what": what, "seed": seed, "value": 1.0} for arm, what, seed in columns]
    )


def test_the_findings_that_settings_name_are_there() -> None:
    found = {
        "ocr-places": toy_places.analyse(toy_table()),
        "ockr-places": ockr_places.analyse(ockr_table()),
    }
    for setting in SETTINGS:
        for experiment, id in setting.findings.values():
            if experiment in found:
                by_id = {finding.id: finding for finding in found[experiment].findings}
                assert setting.null in [null.name for null in by_id[id].nulls], id
