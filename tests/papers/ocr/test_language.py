"""The language tasks on a tiny model: rows of each arm, and what names' effects share."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from oocr.papers.ocr.language.arms import LanguageCell, language_rows
from oocr.papers.ocr.language.data import LanguageData
from oocr.papers.ocr.language.effects import (
    means_of_others,
    shares_of,
    without_pair_direction,
)
from oocr.papers.ocr.language.experiments.scores import TASKS
from tests.tiny.models import tiny_language_model, weights_hash


def cell(arm: Any, **fields: Any) -> LanguageCell:
    depths = (0.5,) if "vectors" in arm else ()
    sizes: dict[str, Any] = {"pairs": 3, "bridges": 1, "tests": 2, "steps": 2, "depths": depths}
    return LanguageCell(arm=arm, relation="city-language", **{**sizes, **fields})


def test_training_never_tells_an_implication_that_is_asked() -> None:
    for relation, mapped in TASKS.values():
        data = LanguageData.draw(relation, mapped, 0)
        assert Counter(person.bridge for person in data.people) == {True: 20, False: 20}
        told = {(row.prompt, row.answer) for row in data.training_rows(data.people)}
        asked = data.rows("implication", data.tests)
        assert not told & {(question.prompt, question.answer) for question in asked}
        assert {row.prompt for row in data.rows("fact", data.tests)} <= {row for row, _ in told}
        for question in data.ceiling_questions():
            assert str(question.prompt).count(question.answer) == 4  # once for each bridge


@pytest.mark.parametrize("arm", ["untouched", "full", "lora early", "vectors", "full + vectors"])
def test_each_arm_gives_a_row_for_each_question(arm: str) -> None:
    model = tiny_language_model()
    before = weights_hash(model)
    rows = language_rows(model, cell(arm, mapped="shifted"))
    assert weights_hash(model) == before
    asked = [row for row in rows if row["part"] != "effect"]
    people = Counter((row["control"], row["part"], row["bridge"]) for row in asked)
    controls = {"untouched": 2, "full": 1, "lora early": 1, "vectors": 5, "full + vectors": 7}
    assert len({row["control"] for row in asked}) == controls[arm]
    assert people["random" if "vectors" in arm else "", "implication", False] == 6
    for row in asked:
        assert 0 <= row["rank"] <= 2
        assert row["rank"] <= row["rank_all"] <= 5
        assert row["right"] == (row["rank"] == 0)
        if row["part"] == "implication":
            assert row["listed_rank"] != row["rank"]  # no ties in float32
    effects = [row for row in rows if row["part"] == "effect"]
    assert len(effects) == (6 if arm in ("full", "lora early") else 0)
    for row in effects:
        assert 0 <= row["one_vector"] <= row["pair_vector"] <= 1 + 1e-9


def test_vectors_recall_their_facts() -> None:
    rows = language_rows(tiny_language_model(), cell("vectors", tests=1))
    own = [row for row in rows if row["part"] == "fact" and not row["control"]]
    assert all(row["right"] for row in own)
    assert {row["block"] for row in own} == {2}


def test_a_vector_at_the_output_adds_the_same_to_both_kinds_of_question() -> None:
    rows = language_rows(tiny_language_model(), cell("vectors, all tokens", depths=(1.0,), tests=1))
    own = [row for row in rows if not row["control"]]
    assert {row["block"] for row in own} == {3}
    # The last block's output: the fact's answer is raised for either question.
    assert all(row["right"] for row in own if row["part"] == "fact")
    ranks = {row["rank_all"] for row in own if row["part"] == "implication"}
    assert min(ranks) >= 1


def test_depths_belong_to_vectors() -> None:
    with pytest.raises(ValidationError, match="from 0 to 1"):
        LanguageCell(arm="vectors", relation="city-language")
    with pytest.raises(ValidationError, match="allowed: for vectors"):
        LanguageCell(arm="full", relation="city-language", depths=(0.5,))


def test_shares_of_effects_that_are_known() -> None:
    names = torch.eye(6)[[0, 0, 0, 1, 1, 1]].double()  # a vector a pair; the first is the bridge
    pairs, bridge = [0, 0, 0, 1, 1, 1], [True, False, False] * 2
    shares = shares_of(names, pairs, bridge)
    assert shares.pair_vector == pytest.approx(1)
    assert shares.one_vector == pytest.approx(0.5)
    assert shares.own_bridge == pytest.approx(1)
    assert shares.other_bridge == pytest.approx(-1)
    moved = names + torch.tensor(bridge)[:, None] * 3 * torch.eye(6)[5]  # what all bridges share
    assert shares_of(moved, pairs, bridge).own_bridge == pytest.approx(1)
    constant = shares_of(torch.ones(6, 4) + 0.01 * torch.randn(6, 4), pairs, bridge)
    assert constant.one_vector > 0.99


def test_directions_of_pairs_are_left_out_or_put_in() -> None:
    torch.manual_seed(0)
    pairs = [0, 0, 0, 1, 1, 1]
    own = torch.randn(6, 8)
    directions = torch.eye(8)[[0, 0, 0, 1, 1, 1]] * 10 + 0.1 * own
    others = means_of_others(directions, pairs)
    torch.testing.assert_close(others[0], directions[1:3].mean(dim=0))
    removed = without_pair_direction(directions, pairs)
    # Along the line between the pairs nothing is left that tells them apart.
    line = torch.eye(8)[0] - torch.eye(8)[1]
    assert (removed @ line).abs().max() < 0.3
    assert (directions @ line).abs().min() > 9
    with pytest.raises(ValueError, match="one name only"):
        means_of_others(directions[:4], [0, 0, 0, 1])
