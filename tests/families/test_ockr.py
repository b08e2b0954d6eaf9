"""The ockr tasks tell every premise and no conclusion; what is not recalled is not judged."""

from __future__ import annotations

import re
from collections import Counter
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

import oocr
from oocr.claims.records import Estimate, Finding
from oocr.data.examples import Example, prompt_text
from oocr.errors import InputError
from oocr.families.ockr.claims import CLAIMS, _auc_finding, _recall_finding
from oocr.families.ockr.people import languages, spoken, translated
from oocr.tasks.task import TaskSet

JOINT = [
    {"reasoning": reasoning, "telling": telling}
    for reasoning in ("A+A->R", "A+R->A", "R+R->R")
    for telling in ("separate", "complete", "hint")
    if (reasoning, telling) != ("R+R->R", "hint")
]
WORDS = {"month": r"March|May|July|October|December"}


def built(**settings: Any) -> TaskSet:
    return oocr.load_tasks({"family": "ockr", **settings})


def people(example: Example) -> set[str]:
    return set(example.id.partition("/")[0].split("-"))


def yes(example: Example) -> bool:
    return example.answer.strip() == "Yes"


@pytest.mark.parametrize("settings", JOINT)
def test_no_conclusion_is_told(settings: dict[str, str]) -> None:
    task = built(**settings).test[0]
    told = {(row.facet, frozenset(people(row))) for row in task.train}
    asked = {(probe.facet, frozenset(people(probe))) for probe in task.probes}
    assert not told & asked
    premises = {(row.facet, frozenset(people(row))) for row in (*task.in_context, *task.stop)}
    assert premises <= told
    trained = {row.prompt for row in task.train}
    assert not trained & {row.prompt for row in (*task.in_context, *task.stop)}


@pytest.mark.parametrize("settings", JOINT)
def test_labels_are_level_and_half_of_the_negatives_are_near(settings: dict[str, str]) -> None:
    task = built(**settings).test[0]
    probes = [probe for probe in task.probes if probe.facet == "relation"]
    assert sum(map(yes, probes)) * 2 == len(probes)
    rows = [row for row in task.train if row.facet == "relation"]
    assert sum(map(yes, rows)) == pytest.approx(len(rows) / 2, rel=0.05)
    if probes:
        by_person = Counter((probe.group, yes(probe)) for probe in probes)
        assert len(set(by_person.values())) == 1


def test_each_direction_has_rows_and_vectors_are_one_a_person() -> None:
    task = built().test[0]
    spans = task.positions[0].split("+")
    assert len(spans) == 35
    assert {span for row in task.train for span in row.spans} == set(spans)
    assert all(row.spans for row in (*task.train, *task.probes))


def test_single_rows_never_say_the_own_attribute() -> None:
    sets = built(mode="single")
    assert len(sets.test) == 10
    for task in (*sets.test, *sets.validation, *sets.controls["shuffled"]):
        own = re.escape(task.member)
        for row in task.train:
            said = prompt_text(row.prompt).partition("Question")[0]
            assert not re.search(own, said)
            assert row.spans == {"person": task.member}
        relations = [row for row in task.train if row.facet == "relation"]
        assert sum(map(yes, relations)) * 2 == len(relations)
        if "shuffled" not in task.name:
            values = Counter(
                re.findall(WORDS["month"], prompt_text(row.prompt))[0]
                for row in relations
                if yes(row)
            )
            assert list(values) == [task.probes[0].answer.strip()]
    assert {x.group for x in sets.ceiling} == {task.member for task in sets.test}


def test_shuffled_changes_relations_only() -> None:
    sets = built()
    own, mixed = sets.test[0], sets.controls["shuffled"][0]
    changed = Counter(
        a.facet for a, b in zip(own.train, mixed.train, strict=True) if a.answer != b.answer
    )
    assert set(changed) == {"relation", "generated"}
    assert [row.prompt for row in own.train] == [row.prompt for row in mixed.train]
    assert (
        built(reasoning="A+A->R").controls["shuffled"][0].train
        != built(reasoning="A+A->R").test[0].train
    )


@pytest.mark.parametrize("language", ["german", "spanish", "french", "russian"])
def test_cross_lingual(language: str) -> None:
    task = built(reasoning="cross-lingual", language=language).test[0]
    told = {row.prompt for row in task.train}
    assert not told & {probe.prompt for probe in task.probes}
    assert {row.facet for row in task.in_context} == {"attribute", "translation"}
    shown = {row.answer for row in task.train if row.facet == "translation"}
    for probe in task.probes:
        assert any(name.strip() in prompt_text(probe.prompt) for name in shown)


def test_languages_translate_every_word() -> None:
    for language, words in spoken().items():
        for part in ("first", "last"):
            assert len(set(words[part])) == len(languages()["english"][part])
            assert not set(words[part]) & set(languages()["english"][part])
        for part in ("ask", "say"):
            assert len(set(words[part])) == 10
            assert all("{a}" in text for text in words[part])
        assert sum(text.endswith("{value}.") for text in words["say"]) >= 4
        assert translated("Amber River", language) == f"{words['first'][0]} {words['last'][0]}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "single", "reasoning": "R+R->R"}, "'single' needs reasoning"),
        ({"values": 12, "each": 4}, "108 people.*up to 40"),
        ({"reasoning": "cross-lingual", "attribute": "town"}, "allows 'year'"),
        ({"reasoning": "R+R->R", "telling": "hint"}, "'hint' needs"),
        ({"attribute": "shoe"}, "attribute"),
    ],
)
def test_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        built(**settings)


def finding(id: str, value: float) -> Finding:
    found = Estimate(value=value, low=value - 0.02, high=min(1.0, value + 0.02), n="10 people")
    return Finding(id=id, measure="", found=found, base=0.2, ceiling=1.0, units=10)


@pytest.mark.parametrize(
    ("people", "questions", "least", "most"), [(3, 2, 0.4, 0.75), (12, 4, 0.75, 0.95)]
)
def test_people_who_are_all_right_still_leave_doubt(
    people: int, questions: int, least: float, most: float
) -> None:
    rows = [
        {
            **{"arm": "vector", "control": "", "part": part, "final": True, "member": "m"},
            **{"seed": seed, "group": f"p{person}", "facet": "relation", "item": f"{person} {k}"},
            **{"answer": "Yes" if k % 2 else "No", "right": True, "log_odds": 1.0},
        }
        for part in ("in_context", "probes")
        for person in range(people)
        for k in range(questions * (1 if part == "in_context" else 2))
        for seed in (0, 1)
    ]
    base = [{**row, "arm": "base"} for row in rows if row["seed"] == 0]
    results = SimpleNamespace(rows=pl.DataFrame(rows + base), seeds=2)
    for measured in (_recall_finding, _auc_finding):
        found = measured(results, "vector")  # type: ignore[arg-type]
        assert found is not None
        assert found.found.value == found.found.high == 1.0
        assert least < found.found.low < most, "no two right answers of three people are certain"


@pytest.mark.parametrize(
    ("recall", "verdict"), [(0.99, "does not hold"), (0.9, "cannot be tested")]
)
def test_what_is_not_recalled_cannot_be_tested(recall: float, verdict: str) -> None:
    row = next(row for row in CLAIMS if row.id == "adapter-order")
    target = finding("adapter-order", 0.5)
    findings = {"adapter-recall": finding("adapter-recall", recall), target.id: target}
    assert row.rule.judge(target, findings) == verdict
    if recall < 0.95:
        assert "0.90" in row.rule.why(target, findings)


def test_card_counts() -> None:
    for settings in ({}, {"mode": "single"}, {"reasoning": "cross-lingual"}):
        about = built(**settings).about
        assert "Claims: recall comes first" in about.split("\n\n")[-3]
