"""The benchmark has the paper's counts, tells no target, and tells every premise."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from oocr.errors import InputError
from oocr.families.ockr.people import spoken
from oocr.papers.ockr.cross_lingual import cross_lingual
from oocr.papers.ockr.lines import Benchmark
from oocr.papers.ockr.original import TASKS, forms_of, main, original

TRAINED = {
    "A+A->R": {"separate": 3000, "adjacent": 7000, "hint": 10200, "complete": 8200},
    "A+A->R hard": {"separate": 2960, "adjacent": 6960},
    "A+R->A": {"separate": 4200, "adjacent": 8200, "hint": 6200, "complete": 10200},
    "A+R->A hard": {"separate": 4200, "adjacent": 8200},
    "R+R->R": {"separate": 8000, "adjacent": 12000, "hint": 12000, "complete": 12000},
    "R+R->R hard": {"separate": 8000, "adjacent": 12000},
}
TARGETS = {
    "A+A->R": {"Yes": 200, "No": 200},
    "A+A->R hard": {"Yes": 190, "No": 190},
    "R+R->R": {"Yes": 200, "No": 200},
    "R+R->R hard": {"Yes": 200, "No": 200},
}
RECALL = {"A+A->R": [200, 20], "A+R->A": [200, 200, 20], "R+R->R": [200, 200, 200, 200]}


def labels(benchmark: Benchmark) -> dict[str, int]:
    return dict(Counter(row.label for row in benchmark.target))


@pytest.mark.parametrize("task", TASKS)
def test_counts_are_the_papers(task: str) -> None:
    for form in forms_of(task):
        built = original(task, form)
        built.check()
        assert len(built.train) == TRAINED[task][form]
        assert [len(rows) for rows in built.recall.values()] == RECALL[task.removesuffix(" hard")]
        if task in TARGETS:
            assert labels(built) == TARGETS[task]
        else:
            assert len(built.target) == 200
            assert set(labels(built).values()) == {10}  # each of twenty years


def test_older_asks_all_offsets_and_shows_two() -> None:
    built = original("A+A->R hard")
    years = {row.facts[0].people[0]: int(row.label) for row in built.train if row.label.isdigit()}
    offsets = Counter(
        years[row.facts[0].people[1]] - years[row.facts[0].people[0]] for row in built.target
    )
    assert sorted(offsets) == [*range(-19, 0), *range(1, 20)]
    assert all(
        (row.label == "Yes") == (years[row.facts[0].people[0]] < years[row.facts[0].people[1]])
        for row in built.target
    )
    shown = [row for row in built.train if row.facts[0].statement == "older"]
    assert Counter(row.label for row in shown) == {"Yes": 380, "No": 380}


def test_one_year_before_is_asked_as_the_year_before() -> None:
    simple, hard = original("A+R->A"), original("A+R->A hard")
    by_person = {row.facts[0].people: int(row.label) for row in simple.target}
    assert all(by_person[row.facts[0].people] == int(row.label) + 1 for row in hard.target)


def test_sentences_have_the_length_of_the_papers() -> None:
    rows = original("R+R->R").train
    words = [len(f"{row.prompt} {row.answer}".split()) for row in rows]
    assert 15 <= sum(words) / len(words) <= 33


@pytest.mark.parametrize("language", spoken())
def test_cross_lingual_counts(language: str) -> None:
    for form, count in (("separate", 4200), ("adjacent", 2200)):
        built = cross_lingual(language, form)
        built.check()
        assert len(built.train) == count
        assert [len(built.target), *map(len, built.recall.values())] == [200, 200, 200]
        abroad = {row.facts[0].people for row in built.train if len(row.facts) == 1}
        assert not abroad & {row.facts[0].people for row in built.target}


def test_other_seeds_have_other_pairs_of_names() -> None:
    assert original("A+R->A", seed=1).target[0].prompt != original("A+R->A").target[0].prompt
    assert original("A+R->A") == original("A+R->A")


@pytest.mark.parametrize(
    ("task", "form", "words"),
    [("A+B", "separate", "A\\+A->R hard"), ("A+A->R hard", "hint", "only the simple tasks")],
)
def test_refused(task: str, form: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        original(task, form)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="german"):
        cross_lingual("klingon")


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oocr.papers.ockr.original.TASKS", {"A+R->A": TASKS["A+R->A"]})
    monkeypatch.setattr("oocr.papers.ockr.original.spoken", dict)
    main(tmp_path)
    assert len(list(tmp_path.glob("*.jsonl"))) == 8
    train = (tmp_path / "A+R-A_separate_train.jsonl").read_text().splitlines()
    assert len(train) == 4200
    test = (tmp_path / "A+R-A_separate_test.jsonl").read_text().splitlines()
    parts = Counter(json.loads(line)["part"] for line in test)
    assert parts["target"] == parts["relations, Yes"] == 200
