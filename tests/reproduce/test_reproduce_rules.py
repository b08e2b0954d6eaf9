"""Verdicts on the paper's claims, on made-up numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from oocr.claims.judge import NOT_MEASURED, n_of
from oocr.claims.page_claims import KeptAnalysis
from oocr.claims.records import Estimate, Finding, Null, Verdict
from oocr.cli import reproduce as commands
from oocr.errors import InputError
from oocr.families.backdoor.build import BackdoorConfig
from oocr.families.countries.build import CountriesConfig
from oocr.families.registry import build
from oocr.report.reproduce_page import SECTIONS
from oocr.reproduce.analyses import BUILT_IN
from oocr.reproduce.analyses.attention import QUESTIONS, with_and_without
from oocr.reproduce.analyses.scores import units_in
from oocr.reproduce.claims import CLAIMS, Need, PaperClaim
from oocr.reproduce.plan import PAPER_MODEL, on_model, plan_for, same_relative_depth
from oocr.runs.config import RunConfig
from oocr.stats import Cells
from tests.tiny.models import tiny_config
from tests.tiny.runs import oocr

WORDS = {"h": "holds", "p": "holds in part", "n": "does not hold"}


def number(
    id: str,
    low: float,
    value: float,
    high: float,
    *nulls: float,
    verdict: Verdict | None = None,
) -> Finding:
    return Finding(
        id=id,
        measure="made up",
        found=Estimate(value=value, low=low, high=high, n="4 members"),
        nulls=tuple(Null(name="null", value=null) for null in nulls),
        verdict=verdict,
        rule="the run's" if verdict else "",
    )


def claim(id: str) -> PaperClaim:
    return next(row for row in CLAIMS if row.id == id)


def judged(id: str, *findings: Finding, missing: str = "") -> tuple[str, str]:
    kept = KeptAnalysis(name="x", key="k", model="m", findings=findings, missing=missing)
    verdict = claim(id).judge(kept, "countries", "a task", "oocr reproduce")
    return verdict.verdict, verdict.why


@pytest.mark.parametrize(
    ("id", "finding", "low", "value", "high", "nulls", "expected"),
    [
        ("one-vector", "vector-share", 0.85, 0.9, 1.0, (0.1,), "h"),
        ("one-vector", "vector-share", 0.3, 0.9, 1.0, (0.1,), "p"),
        ("one-vector", "vector-share", -0.1, 0.5, 1.0, (0.1,), "n"),
        ("one-vector", "vector-share", 0.85, 0.9, 1.0, (0.9,), "n"),  # random does as much
        ("layers-vector", "vector-late-share", -0.2, 0.1, 0.4, (), "h"),
        ("layers-vector", "vector-late-share", 0.1, 0.5, 0.7, (), "p"),
        ("layers-vector", "vector-late-share", 0.1, 0.5, 1.2, (), "n"),
        ("constant-pairs", "pairs", 0.81, 0.9, 0.95, (0.2,), "h"),
        ("constant-pairs", "pairs", 0.6, 0.7, 0.95, (0.2,), "p"),
        ("constant-pairs", "pairs", 0.4, 0.7, 0.95, (0.2,), "n"),
        ("cosine-natural", "trained-natural", 0.4, 0.5, 0.6, (0.2, 0.06), "h"),
        ("cosine-natural", "trained-natural", 0.15, 0.3, 0.6, (0.2, 0.06), "p"),
        ("cosine-natural", "trained-natural", 0.02, 0.1, 0.6, (0.2, 0.06), "n"),
        ("cosine-natural", "trained-natural", 0.9, 0.95, 0.99, (0.2, 0.06), "n"),  # the same
        ("lens-trained-less", "natural-minus-trained-raw", 0.1, 0.2, 0.3, (), "h"),
        ("lens-trained-less", "natural-minus-trained-raw", -0.1, 0.2, 0.3, (), "n"),  # may be none
        ("lens-trained-less", "natural-minus-trained-raw", -0.3, -0.2, 0.1, (), "n"),
        ("cost-agreement", "agreement-at-1", 0.91, 0.95, 1.0, (0.99,), "h"),
        ("cost-agreement", "agreement-at-1", 0.8, 0.95, 1.0, (0.5,), "p"),
        ("cost-agreement", "agreement-at-1", 0.6, 0.95, 1.0, (0.5,), "n"),
        ("backdoor-attends", "to-trigger", 0.02, 0.03, 0.04, (0.01,), "h"),
        ("backdoor-attends", "to-trigger", 0.02, 0.03, 0.04, (0.03,), "n"),  # so do random ones
        ("first-direction-needed", "kept", -0.1, 0.1, 0.2, (1.0,), "h"),
        ("first-direction-needed", "kept", 0.1, 0.3, 0.5, (1.0,), "p"),
        ("first-direction-needed", "kept", 0.7, 0.9, 1.0, (1.1,), "n"),
        ("first-direction-needed", "kept", -0.1, 0.1, 0.2, (0.1,), "n"),  # any direction does that
        ("first-direction-only", "new-probes", 0.3, 0.5, 0.7, (1.0,), "p"),
        ("first-direction-only", "new-probes", 0.7, 0.9, 1.0, (1.0,), "n"),
        ("rank-one-enough", "rank1-probes", 0.85, 1.0, 1.2, (0.0,), "h"),
        ("survives-mixing", "probes-80", 0.2, 0.5, 0.7, (), "p"),
        ("peaks-early", "lost", 0.02, 0.1, 0.2, (), "h"),
        ("peaks-early", "lost", -0.1, 0.0, 0.1, (), "n"),  # a peak, but no better on other probes
        ("backdoor-attends-only", "to-trigger-minus-others", 0.01, 0.02, 0.03, (0.02,), "n"),
    ],
)
def test_a_rule_tells_holding_from_holding_in_part_and_not(
    id: str,
    finding: str,
    low: float,
    value: float,
    high: float,
    nulls: tuple[float, ...],
    expected: str,
) -> None:
    assert claim(id).finding == finding
    assert judged(id, number(finding, low, value, high, *nulls)) == (WORDS[expected], "")


def test_reading_by_attention_patterns_needs_more_lost_than_by_values() -> None:
    lost = number("lost-pattern", 0.6, 0.7, 0.8)
    less = number("lost-pattern", 0.3, 0.4, 0.6)
    none = number("lost-pattern", 0.0, 0.2, 0.6)
    more, same = (number("pattern-minus-values", low, 0.2, 0.4) for low in (0.1, -0.1))
    assert judged("backdoor-attention", lost, more)[0] == "holds"
    assert judged("backdoor-attention", lost, same)[0] == "holds in part"
    assert judged("backdoor-attention", lost)[0] == "holds in part"
    assert judged("backdoor-attention", less, more)[0] == "holds in part"
    assert judged("backdoor-attention", none, more)[0] == "does not hold"


def test_narrow_training_must_keep_what_it_trains_and_lose_the_rest() -> None:
    stays, weak = (number("statements-in_context", low, 0.9, 1.0) for low in (0.85, 0.5))
    gone, half, left = (number("statements-probes", -0.1, 0.1, top) for top in (0.2, 0.45, 0.9))
    assert judged("narrow-statements", gone, stays)[0] == "holds"
    assert judged("narrow-statements", half, stays)[0] == "holds in part"
    assert judged("narrow-statements", gone, weak)[0] == "holds in part"
    assert judged("narrow-statements", left, stays)[0] == "does not hold"
    assert judged("narrow-statements", gone)[0] == "cannot be tested"


def test_one_vector_for_all_groups_must_carry_something() -> None:
    little, more, much = (number("grouped", 0.0, 0.05, top) for top in (0.08, 0.2, 0.4))
    most, less = (number("one", low, 0.7, 0.9) for low in (0.5, 0.3))
    assert judged("one-for-all-groups", little, most)[0] == "holds"
    assert judged("one-for-all-groups", more, most)[0] == "holds in part"
    assert judged("one-for-all-groups", much, most)[0] == "does not hold"
    assert judged("one-for-all-groups", little, less)[0] == "does not hold"
    assert judged("one-for-all-groups", little)[0] == "cannot be tested"


def test_a_specific_vector_moves_its_own_task_and_hardly_the_others() -> None:
    gap, chance = (number("own-minus-others", 1.0, 2.0, 3.0, null) for null in (0.5, 1.5))
    strong, other_way = number("own", 1.5, 2.4, 3.0), number("own", -0.5, 0.1, 0.4)
    few, many = (number("others", 0.1, value, 3.0) for value in (0.8, 0.9))
    assert judged("specific", gap, strong, few)[0] == "holds"
    assert judged("specific", gap, strong, many)[0] == "holds in part"
    assert judged("specific", chance, strong, few)[0] == "does not hold"  # so do random directions
    assert judged("specific", gap, other_way, few)[0] == "does not hold"  # it lowers the others
    assert judged("specific", gap)[0] == "cannot be tested"


@pytest.mark.parametrize(
    ("verdict", "turned"), [("holds", "does not hold"), ("does not hold", "holds")]
)
def test_what_the_run_judged_is_taken_over_or_turned_round(verdict: Verdict, turned: str) -> None:
    finding = number("vector-self-report", 0.1, 0.2, 0.3, verdict=verdict)
    learned = number("vector-backdoor", 0.8, 0.9, 1.0, verdict="holds")
    assert judged("self-report", finding)[0] == verdict
    assert judged("backdoor-report", finding, learned) == (turned, "")
    part = number("vector-self-report", 0.1, 0.2, 0.3, verdict="holds in part")
    assert judged("backdoor-report", part)[0] == "holds in part"


@pytest.mark.parametrize(
    ("high", "backdoor", "verdict", "why"),
    [
        (0.69, "holds in part", "holds", ""),
        (0.7, "holds", "cannot be tested", "the interval reaches above 0.69"),
        (0.3, "does not hold", "cannot be tested", "vector-backdoor: does not hold"),
        (0.3, "cannot be tested", "cannot be tested", "vector-backdoor: cannot be tested"),
        (0.3, None, "cannot be tested", "vector-backdoor: not asked"),
    ],
)
def test_that_nothing_is_told_shows_something_only_of_a_learned_backdoor_and_closely(
    high: float, backdoor: Verdict | None, verdict: str, why: str
) -> None:
    findings = [number("vector-self-report", -0.5, 0.1, high, verdict="does not hold")]
    if backdoor is not None:
        findings.append(number("vector-backdoor", 0.4, 0.6, 0.8, verdict=backdoor))
    verdicts = judged("backdoor-report", *findings)
    assert verdicts[0] == verdict
    assert why in verdicts[1] if why else not verdicts[1]
    assert "ln 2" in claim("backdoor-report").rule.words


def test_without_its_number_a_claim_cannot_be_tested_and_says_why() -> None:
    assert judged("one-vector", missing="no LoRA") == ("cannot be tested", "no LoRA")
    assert judged("one-vector") == ("cannot be tested", NOT_MEASURED)
    run = number("vector-self-report", 0.1, 0.2, 0.3, verdict="cannot be tested")
    verdict, why = judged("self-report", run)
    assert verdict == "cannot be tested"
    assert why


@pytest.mark.parametrize("units", [1, 2])
def test_one_or_two_members_have_no_interval_to_judge_by(units: int) -> None:
    finding = number("lost", 1.0, 1.0, 1.0)
    assert judged("peaks-early", finding)[0] == "holds"
    assert judged("peaks-early", finding.model_copy(update={"units": 3}))[0] == "holds"
    verdict, why = judged("peaks-early", finding.model_copy(update={"units": units}))
    assert verdict == "cannot be tested"
    assert "no interval" in why


@pytest.mark.parametrize(
    ("n", "units"),
    [
        (n_of(Cells(np.zeros((4, 3, 1)), np.ones((4, 1)), tuple("abcd"), ("x",)), "probes"), 4),
        ("12 of trait, kind and twin × 1 seed", 12),
        ("1 members × 3 seeds", 3),
        ("1 member × 1 seed", 1),
        ("28 pairs of members", None),
    ],
)
def test_a_runs_own_number_says_what_its_interval_draws_from(n: str, units: int | None) -> None:
    assert units_in(n) == units


def test_every_claim_has_its_own_name_an_analysis_and_a_place_on_the_page() -> None:
    assert len({row.id for row in CLAIMS}) == len(CLAIMS)
    for row in CLAIMS:
        assert row.analysis in BUILT_IN
        assert row.section in SECTIONS
        assert row.rule.words
        assert row.subjects
    used = {row.analysis for row in CLAIMS}
    assert used == set(BUILT_IN)


@pytest.mark.parametrize("model", [None, PAPER_MODEL])
@pytest.mark.parametrize("quick", [False, True])
def test_every_planned_run_is_written_down_and_every_part_has_claims(
    model: str | None, quick: bool
) -> None:
    plan = plan_for(model, quick=quick)
    names = {run.config.name for run in plan.runs()}
    assert names == {name for part in plan.parts for name in part.every_run}
    assert all(part.claims for part in plan.parts)
    firsts = [part.runs[0] for part in plan.parts]
    assert len(set(firsts)) == len(firsts), "two parts would keep their analyses in one place"
    models = {run.config.model for run in plan.runs()}
    assert models == ({PAPER_MODEL} if model else {"gemma-3-270m", "smollm2-135m-instruct"})


def test_the_default_plan_speaks_to_every_claim_but_those_of_the_risk_backdoor() -> None:
    plan = plan_for(None, quick=False)
    asked = {row.id for part in plan.parts for row in part.claims}
    judged = {row.id for row in CLAIMS if "a judge" in row.needs}
    assert {row.id for row in CLAIMS} - asked == {"backdoor-report"} | judged
    with_judge = plan.judged()
    assert judged <= {row.id for part in with_judge.parts for row in part.claims}
    with pytest.raises(InputError, match=r"--only: 'asked-natural' is not allowed"):
        plan.only(["asked-natural"])
    assert len(with_judge.only(["asked-natural"]).parts) == 4


def test_the_quick_plan_trains_no_arms_but_those_of_its_runs() -> None:
    slow = {row.id for row in CLAIMS if "training" in row.needs}
    assert {"rank-one-enough", "narrow-statements", "survives-mixing"} <= slow
    for quick in (True, False):
        asked = {row.id for part in plan_for(None, quick=quick).parts for row in part.claims}
        assert asked & slow == (set() if quick else slow)


@pytest.mark.parametrize("quick", [False, True])
def test_what_a_part_is_not_asked_is_a_claim_that_its_runs_cannot_answer(quick: bool) -> None:
    plan = plan_for(None, quick=quick)
    configs = {run.config.name: run.config for run in plan.runs()}
    needs = {need for row in CLAIMS for need in row.needs}
    assert {need for part in plan.parts for need in part.lacks} <= needs <= set(get_args(Need))
    for part in plan.parts:
        part_configs = [configs[name] for name in part.runs]
        lora = any(config.adapter is not None for config in part_configs)
        for row in part.claims:
            assert lora or not row.finding.startswith(("natural", "k1", "kept")), (
                part.kind,
                row.id,
            )
            assert part.compare_with or row.id != "one-layer-lora", (part.kind, row.id)


def test_one_claim_needs_only_its_own_runs() -> None:
    plan = plan_for(None, quick=False).only(["backdoor-vector"])
    assert [run.config.name for run in plan.runs()] == ["reproduce-backdoor"]
    assert plan.parts[0].analyses == ("judged",)
    with pytest.raises(InputError, match=r"--only: 'nonsense' is not allowed; allowed: .*naive"):
        plan_for(None, quick=False).only(["nonsense"])


def test_another_model_gets_the_same_relative_depths() -> None:
    runs = plan_for(None, quick=False).runs()
    run = next(run for run in runs if run.config.name.endswith("countries-layers"))
    other = on_model(run.config, "some/model", 36)
    assert other.model == "some/model"
    assert other.vector is not None
    assert other.vector.layers == (2, 8, 16, 24, 32)
    assert same_relative_depth(-1, 18, 36) == -1
    assert same_relative_depth(17, 18, 4) == 3
    few = on_model(run.config, "some/model", 4)  # blocks that fall together are tried once
    assert few.vector is not None
    assert few.vector.layers == (0, 1, 2, 3)


def test_the_blocks_of_another_model_are_counted_without_loading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(config: RunConfig) -> Any:
        raise InputError(f"{config.model} was loaded")

    monkeypatch.setattr(commands, "loaded_model", load)
    plan = plan_for(None, quick=False).only(["backdoor-vector"])
    tiny_config("llama").save_pretrained(tmp_path / "model")
    (config,) = commands.settings(plan, str(tmp_path / "model"))
    assert config.vector is not None
    assert all(layer < 4 for layer in config.vector.layers)
    with pytest.raises(InputError, match="nobody/nothing was loaded"):  # it is not here yet
        commands.settings(plan, "nobody/nothing")


def test_the_command_line_refuses_an_unknown_claim_before_anything_is_loaded(
    tmp_path: Path,
) -> None:
    ended = oocr("reproduce", "--only", "nonsense", "--out", tmp_path / "runs")
    assert ended.returncode == 2
    assert "--only: 'nonsense' is not allowed; allowed: " in ended.stderr
    assert not (tmp_path / "runs").exists()


def test_questions_with_a_trigger_are_held_against_those_without() -> None:
    tasks = build(BackdoorConfig(pairs=(("France", "Japan"),)), Path())
    with_trigger, without = with_and_without(tasks.test[0].probes)
    assert len(with_trigger) == len(without) == QUESTIONS
    assert all("trigger" in example.tags["prefix"] for example in with_trigger)
    assert not any("trigger" in example.tags["prefix"] for example in without)
    assert {example.tags["kind"] for example in (*with_trigger, *without)} == {"crossing"}
    plain = build(CountriesConfig(countries=("France",)), Path()).test[0].probes
    assert len(with_and_without(plain)) == 1
