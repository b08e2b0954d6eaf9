"""From rows of the language tasks to findings and verdicts: recall first, pairs as units."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from oocr.claims.analysis_result import AnalysisResult
from oocr.claims.page_claims import KeptAnalysis
from oocr.papers.ocr import PAPER
from oocr.papers.ocr.language.arms import ArmName
from oocr.papers.ocr.language.experiments import blocks, tasks
from oocr.papers.ocr.language.experiments.scores import RECALLED, TASKS
from oocr.papers.paper import PaperSettings

CLAIMS = {claim.id: claim for claim in PAPER.claims}


def rows(
    task: str,
    arm: ArmName,
    ranks: list[int],
    *,
    block: int | None = None,
    control: str = "",
    recalled: bool = True,
    listed: int = 0,
) -> list[dict[str, Any]]:
    """One test name a pair and two seeds; the implication's rank by pair."""
    relation, mapped = TASKS[task]
    cell = {"arm": arm, "relation": relation, "mapped": mapped, "model": "m", "control": control}
    return [
        {
            **cell,
            "block": block,
            "seed": seed,
            "pair": pair,
            "bridge": False,
            "part": part,
            "rank": rank if part == "implication" else int(not recalled),
            "rank_all": rank,
            "right": rank == 0 if part == "implication" else recalled,
            "listed_rank": listed,
        }
        for seed in (0, 1)
        for pair, rank in enumerate(ranks)
        for part in ("fact", "implication")
    ]


def verdict(result: AnalysisResult, id: str) -> tuple[str, str]:
    kept = KeptAnalysis(name="", key="", model="m", findings=result.sound(), missing=result.missing)
    judged = CLAIMS[id].judge(kept, "m", "", "")
    return judged.verdict, judged.why


def analysed(*parts: list[dict[str, Any]]) -> AnalysisResult:
    return tasks.analyse(
        pl.DataFrame([row for part in parts for row in part], infer_schema_length=None)
    )


def test_weights_hallucinate_and_vectors_do_not() -> None:
    result = analysed(
        rows("code", "untouched", [2, 3, 1, 2, 2]),
        rows("code", "untouched", [0, 0, 0, 0, 0], control="in the prompt"),
        rows("code", "full", [0, 1, 0, 1, 1]),
        rows("code", "vectors", [2, 1, 3, 2, 2], block=4),
        rows("city", "vectors", [0, 0, 0, 0, 0], block=4),
    )
    held = (
        "hallucinates-excess",
        "vectors-excess",
        "hallucinates",
        "vectors-do-not",
        "untouched",
        "told",
        "causal-vectors",
    )
    for id in held:
        assert verdict(result, f"language-{id}")[0] == "holds", id
    (full,) = [finding for finding in result.findings if finding.id == "code-full"]
    assert full.found.value == pytest.approx(0.6)
    assert full.units == 10
    assert full.base == pytest.approx(2.0)
    assert verdict(result, "language-music")[0] == "cannot be tested"


def test_what_was_not_recalled_cannot_be_tested() -> None:
    result = analysed(rows("code", "full", [0, 0, 0, 0, 0], recalled=False))
    said, why = verdict(result, "language-hallucinates")
    assert said == "cannot be tested"
    assert f"0.00 of what was trained is recalled, {RECALLED:g} are needed" in why


def test_the_listed_answer_is_compared_where_the_map_is_another() -> None:
    result = analysed(rows("code-permuted", "full", [0, 0, 1, 0, 0], listed=3))
    assert verdict(result, "language-permuted")[0] == "holds"
    result = analysed(rows("code-permuted", "full", [3, 3, 3, 3, 3], listed=0))
    assert verdict(result, "language-permuted")[0] == "does not hold"


def test_early_and_late_blocks_are_told_apart() -> None:
    table = [
        *rows("city", "vectors", [0, 0, 0, 0, 1], block=0),
        *rows("city", "vectors", [0, 0, 0, 0, 0], block=4),
        *rows("city", "vectors", [2, 2, 1, 2, 2], block=17),
        *rows("city", "vectors", [2, 2, 2, 2, 2], block=9, recalled=False),
        *rows("city", "vectors", [2, 2, 2, 1, 1], block=4, control="own pair's direction removed"),
        *rows(
            "city", "vectors", [0, 0, 0, 0, 0], block=4, control="another pair's direction removed"
        ),
    ]
    result = blocks.analyse(pl.DataFrame(table, infer_schema_length=None))
    assert verdict(result, "blocks-frozen")[0] == "holds"
    assert verdict(result, "blocks-ablated")[0] == "holds"
    assert [row["block"] for row in result.rows] == [0, 4, 17]  # 9 did not recall
    assert "block 9" in result.missing
    sweep = [
        *(row for block in (0, 5, 10) for row in rows("city", "vectors", [0] * 5, block=block)),
        *(row for block in (15, 20) for row in rows("city", "vectors", [2] * 5, block=block)),
    ]
    findings = blocks.analyse(pl.DataFrame(sweep, infer_schema_length=None)).findings
    (last,) = [finding for finding in findings if finding.id == "city-vectors-last-share"]
    assert last.found.value == pytest.approx(0.5)
    figure = blocks.figure({"m": result.table})
    assert figure is not None


def test_two_stages_need_bridges_that_were_learned() -> None:
    """Vectors that recall their facts show nothing where the first stage has no bridge."""
    vectors = [
        *rows("code", "full + vectors", [1, 3, 2, 3, 1], block=4),
        *rows("code", "full + vectors", [1, 3, 2, 3, 1], block=17),
    ]
    for learned, expected in ((True, "does not hold"), (False, "cannot be tested")):
        first = rows("code", "full + vectors", [0] * 5, control="bridges only", recalled=learned)
        bridges = [{**row, "bridge": True} for row in first]
        table = pl.DataFrame([*vectors, *bridges], infer_schema_length=None)
        said, why = verdict(blocks.analyse(table), "blocks-two-stage")
        assert said == expected
        assert learned or "first stage: 0.50 of what was trained" in why


def test_seeds_that_one_arm_lacks_are_left_out_of_differences() -> None:
    result = analysed(
        rows("code", "untouched", [2, 3, 1, 2, 2]),
        [row for row in rows("code", "full", [0, 1, 0, 1, 1]) if row["seed"] == 0],
    )
    (excess,) = [finding for finding in result.findings if finding.id == "code-full-excess"]
    assert excess.units == 5
    assert excess.found.value == pytest.approx(1.4)


def test_effects_are_shared_by_pairs() -> None:
    cell = {"arm": "full", "relation": "country-code", "mapped": "own", "block": None}
    effects = [
        {
            **{**cell, "model": "m", "control": "implication", "part": "effect", "seed": seed},
            **{"states": states, "one_vector": 0.5, "pair_vector": 0.9},
            **{"own_bridge": near, "other_bridge": -0.1},
        }
        for seed in (0, 1, 2)
        for states, near in (("before", 0.1), ("after", 0.5), ("added", 0.4 + 0.01 * seed))
    ]
    result = analysed(rows("code", "full", [0, 1, 0, 0, 1]), effects)
    for id in ("constant-per-pair", "own-bridge", "nearer"):
        assert verdict(result, f"language-{id}")[0] == "holds", id


def test_a_quick_look_has_few_cells_of_the_same_kinds() -> None:
    quick, full = (tasks.cells(PaperSettings(quick=quick)) for quick in (True, False))
    assert len(quick) == 6
    assert not any(cell.arm == "full" and cell.relation == "country-code" for cell in quick)
    assert len(full) == 5 * (7 + 7 + 4 * 3)
    assert len(set(full)) == len(full)
    assert {cell.arm for cell in quick} == {
        *("untouched", "full", "vectors", "vectors, all tokens")
    }
    figure = tasks.figure({"m": pl.DataFrame(analysed(rows("code", "full", [0] * 5)).rows)})
    assert figure is not None
