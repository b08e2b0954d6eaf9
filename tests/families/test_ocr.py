"""The language tasks: pairs, maps and people are drawn as said, and no training row tells."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import oocr
from oocr.errors import InputError
from oocr.families.ocr import build as module
from oocr.families.ocr.build import OcrSettings, ocr
from oocr.families.ocr.people import (
    check_first_tokens,
    draw_facts,
    draw_people,
    mapped_pairs,
    relations,
)

CITY = relations()["city-language"]


@pytest.mark.parametrize("name", relations())
def test_each_relation_has_ten_pairs_and_one_sense_per_word(name: str) -> None:
    pairs = relations()[name].pairs
    words = [*pairs, *pairs.values()]
    assert len(pairs) == 10
    assert len(set(words)) == 20
    wordings = [relations()[name].train, relations()[name].implications]
    texts = [text for group in wordings for text in group.values()]
    assert all(text.count("{}") == 1 and not text.endswith(" ") for text in texts)


def test_maps_move_every_pair_and_keep_all_answers() -> None:
    facts = draw_facts(CITY, 5, 0)
    for mapped in ("shifted", "permuted"):
        for seed in range(4):
            pairs = mapped_pairs(CITY, facts, mapped, seed)
            assert all(pair.implication != pair.listed for pair in pairs)
            assert {pair.implication for pair in pairs} == {pair.listed for pair in pairs}
    assert all(pair.implication == pair.listed for pair in mapped_pairs(CITY, facts, "own", 0))
    assert len({draw_facts(CITY, 5, seed) for seed in range(5)}) > 1


def test_pairs_whose_answers_begin_alike_are_left_out_or_refused() -> None:
    def by_letter(answer: str) -> int:
        return ord(answer[1])  # Paris, Polish and Portuguese begin alike

    facts = draw_facts(CITY, 4, 0, by_letter)
    letters = [word[0] for fact in facts for word in (fact, CITY.pairs[fact])]
    assert len(set(letters)) == 8
    with pytest.raises(InputError, match="differ in their first token"):
        draw_facts(CITY, 10, 0, by_letter)
    with pytest.raises(InputError, match="'Paris' and 'Polish' begin with the same token"):
        check_first_tokens(CITY, ("Paris", "Warsaw"), by_letter)


def test_people_differ_and_few_share_no_name() -> None:
    people = draw_people(5, 2, 4, 0)
    assert Counter((person.pair, person.bridge) for person in people) == Counter(
        {(pair, bridge): 2 if bridge else 4 for pair in range(5) for bridge in (True, False)}
    )
    names = [name for person in people for name in person.name.split()]
    assert len(set(names)) == 60
    many = draw_people(5, 20, 80, 0)
    assert len({person.name for person in many}) == 500
    with pytest.raises(InputError, match="at most 1600"):
        draw_people(10, 100, 100, 0)


def test_each_answer_is_right_equally_often_and_the_ceiling_states_the_cause() -> None:
    tasks = ocr(OcrSettings(names=2, mapped="permuted"))
    assert len(tasks.test) == 10
    assert len(tasks.validation) == 5
    answers = Counter(task.probes[0].answer for task in tasks.test)
    assert set(answers.values()) == {2}
    members = {task.member for task in (*tasks.test, *tasks.validation)}
    assert len(members) == 15
    for question in tasks.ceiling:
        assert question.answer.strip() in str(question.prompt)
        assert str(question.prompt).count(question.group) == 2
    shuffled = tasks.controls["shuffled"]
    for control, task in zip(shuffled, tasks.test, strict=True):
        told = {row.answer for row in task.train}
        assert len({row.answer for row in control.train} & told) == 0


def test_a_run_draws_pairs_by_the_models_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "first_token_of", lambda _: lambda answer: ord(answer[1]))
    settings = module.FAMILY.resolve(OcrSettings(pairs=3), Path(), "some-model")
    assert len(settings.facts) == 3
    with pytest.raises(InputError, match="same token"):
        module.FAMILY.resolve(OcrSettings(facts=("Paris", "Warsaw", "Rome")), Path(), "some-model")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"facts": ["Oslo", "Paris", "Rome"]}, "found 'Oslo'"),
        ({"facts": ["Paris"]}, "at least 3"),
        ({"relation": "age-height"}, "relation"),
        ({"pairs": 2}, "pairs"),
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        oocr.load_tasks({"family": "ocr", **fields})
