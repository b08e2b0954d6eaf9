"""What a vector costs by strength, against the measures it is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch

from oocr.errors import InputError
from oocr.evals.probes import Probes
from oocr.explain.neutral import neutral_passages, neutral_questions
from oocr.explain.side_effects import PASSAGES, NeutralPredictions, SideEffects
from oocr.models.load import read_model
from oocr.steering.vectors import Vector
from tests.tiny.models import tiny_language_model
from tests.tiny.nano import save_random_organism


def test_questions_can_be_told_apart_and_have_one_answer_each() -> None:
    items = neutral_questions()
    assert len({str(item.prompt) for item in items}) == len(items) >= 40
    assert all(len(item.options) == 4 for item in items)


@pytest.mark.parametrize("positions", ["last", "all"])
def test_no_strength_costs_nothing_and_others_what_text_and_questions_say(
    positions: Literal["last", "all"],
) -> None:
    model = tiny_language_model("gemma3_text")
    generator = torch.Generator().manual_seed(0)
    vector = Vector(1, "codename", torch.randn(model.d_model, generator=generator) * 8)
    questions = neutral_questions()[:12]
    neutral = SideEffects(model, 2, tokens=32, questions=questions, positions=positions)
    costs = neutral.costs(vector, (0.0, 1.0, 3.0))
    assert [cost.strength for cost in costs] == [0.0, 1.0, 3.0]
    assert costs[0].kl == pytest.approx(0, abs=1e-6)
    assert costs[0].perplexity == pytest.approx(1, abs=1e-5)
    assert costs[0].agreement == 1
    passages = neutral_passages()[: PASSAGES[positions]]
    text = NeutralPredictions(model, passages, {2}, 32, apart=positions == "last")
    asked = Probes.of(model, questions)
    plain = asked.scores(None)[0].argmax(dim=1)
    for cost in costs[1:]:
        steered = vector.at(positions) * cost.strength
        damage = text.damage(steered)
        assert cost.kl == pytest.approx(damage.kl, rel=1e-5)
        assert cost.perplexity == pytest.approx(damage.perplexity / damage.perplexity_base)
        same = asked.scores([steered])[0].argmax(dim=1) == plain
        assert cost.agreement == pytest.approx(float(same.float().mean()))
    assert costs[0].agreement > costs[2].agreement


def test_joined_directions_are_refused() -> None:
    model = tiny_language_model("llama")
    vector = Vector(1, "a+b", torch.ones(2, model.d_model))
    with pytest.raises(InputError, match="joined directions belong to their spans"):
        SideEffects(model, 2, tokens=12, questions=neutral_questions()[:2]).costs(vector)
    with pytest.raises(InputError, match="positions: found 'codename'; allowed: last, all"):
        SideEffects(model, 2, positions="codename")  # type: ignore[arg-type]


def test_an_organism_is_asked_only_for_answers_in_its_own_texts(tmp_path: Path) -> None:
    model = read_model(str(save_random_organism(tmp_path / "organism")))
    items = neutral_questions(model)
    texts = neutral_passages(model)
    answers = sum(text.split().count(".") for text in texts)
    assert len(items) == answers >= 40
    assert all(len(set(item.options)) == 4 for item in items)
    # A statement's last word is its answer; pretraining never asked for another.
    assert all(any(t.startswith(f"{i.prompt}{i.answer} .") for t in texts) for i in items)
    for positions in ("last", "all"):
        neutral = SideEffects(model, 1, tokens=1000, questions=items[:8], positions=positions)
        asked = [
            model.tokenizer.decode([token]).strip()
            for batch in neutral.text.recordings
            for token in batch.batch.target_ids.tolist()
        ]
        assert len(asked) == answers
        assert set(asked) <= {item.answer.strip() for item in items}
        costs = neutral.costs(Vector(0, "last", torch.ones(model.d_model)), (0.0, 1.0))
        assert costs[1].kl > costs[0].kl == 0
    few = SideEffects(model, 1, tokens=answers // 3, questions=items[:8])
    assert few.text.damage(Vector(0, "last", torch.ones(model.d_model))).tokens < answers / 2
