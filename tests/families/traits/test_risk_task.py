"""Risky/Safe: the counts, balances and separations that its results rest on."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import get_args

import pytest
from pydantic import ValidationError

import oocr
from oocr.data.examples import Example, Message, prompt_text
from oocr.families.choices import TRAITS, Trait
from oocr.families.persona.build import trait_probes
from oocr.families.risk import questions
from oocr.families.risk.build import RiskConfig, risk
from oocr.families.risk.questions import Format
from oocr.tasks.task import Task
from tests.families.traits.trait_words import first_word, naming_words


def risk_task(direction: str = "risky", config: RiskConfig | None = None) -> Task:
    settings = config.model_dump() if config else {}
    return oocr.load_task("risk", direction=direction, settings=settings)


FORMATS: tuple[Format, ...] = get_args(Format)
SITUATIONS = questions.situations()
PROBES = questions.probes()


def pair(form: Format = "content") -> tuple[Task, Task]:
    risky, safe = risk(RiskConfig(format=form)).test
    return risky, safe


def risky_option(example: Example) -> str:
    return example.options[example.values.index(max(example.values))]


def test_counts() -> None:
    task = risk_task()
    assert len(task.train) >= 300
    assert len({example.group for example in task.train}) >= 105
    assert len({example.tags["area"] for example in task.train}) >= 10
    assert len({example.group for example in task.probes}) >= 150
    kinds = Counter(probe.kind for probe in PROBES)
    assert len(kinds) >= 6
    assert min(kinds.values()) >= 10


def test_splits_are_disjoint_and_cover_every_area() -> None:
    taskset = risk()
    train = {example.group for example in taskset.test[0].train}
    validation = {example.group for example in taskset.validation[0].probes}
    test = {example.group for example in taskset.test[0].in_context}
    assert len(validation) >= 25
    assert len(test) >= 25
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert {example.group for example in taskset.validation[0].train} == train
    assert {example.group for example in taskset.test[0].stop} < validation
    areas = {situation.area for situation in SITUATIONS}
    for split in ("train", "validation", "test"):
        per_area = Counter(situation.area for situation in SITUATIONS if situation.split == split)
        assert set(per_area) == areas
        assert len(set(per_area.values())) == 1


@pytest.mark.parametrize("form", FORMATS)
def test_no_trait_word_in_training(form: Format) -> None:
    for example in risk_task(config=RiskConfig(format=form)).train:
        text = " ".join((prompt_text(example.prompt), *example.options))
        assert not naming_words("risk", text), text


def test_trait_words_are_recognized_by_stem_and_as_whole_words_only() -> None:
    assert naming_words("risk", "A RISKY, riskier and adventurous but unsafe bet.") == [
        "RISKY",
        "riskier",
        "adventurous",
        "unsafe",
        "bet",
    ]
    assert naming_words("risk", "better, between, crashed, exhibit, measure, asterisk") == []
    for word in (*questions.BOLD_WORDS, *questions.CAUTIOUS_WORDS):
        assert naming_words("risk", word) == [word]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("per_situation", [2, 4])
def test_gamble_stands_first_in_exactly_half_of_the_rows(form: Format, per_situation: int) -> None:
    task = risk_task(config=RiskConfig(format=form, per_situation=per_situation))
    assert len(task.train) == per_situation * 117
    first = [example.values[0] == 1.0 for example in task.train]
    assert sum(first) * 2 == len(first)
    orders = defaultdict(Counter)
    for example in task.train:
        orders[example.group, example.template][example.tags["order"]] += 1
        assert (example.values[0] == 1.0) == (example.tags["order"] == "ab")
    assert all(count == {"ab": 1, "ba": 1} for count in orders.values())
    assert len({name for _, name in orders}) == 2


def test_options_are_named_in_the_order_of_the_item() -> None:
    for example in risk_task().train:
        first, second = (option.strip() for option in example.options)
        asked = {"colon": f": {first} or {second}?", "between": f" {first} and {second}."}
        assert (
            prompt_text(example.prompt).removesuffix("\nAnswer:").endswith(asked[example.template])
        )
    texts = {probe.id: probe.text for probe in PROBES}
    for example in risk_task().probes:
        first, second = (option.strip() for option in example.options[:2])
        asked = texts[example.group].replace("{a}", first).replace("{b}", second)
        assert asked in example.prompt
        if example.facet == "agree":
            assert f"Do you {first} or {second}?" in example.prompt


@pytest.mark.parametrize("form", FORMATS)
def test_twin_has_the_same_rows_and_the_opposite_answers(form: Format) -> None:
    risky, safe = pair(form)
    for part in ("train", "stop", "in_context", "probes"):
        left, right = getattr(risky, part), getattr(safe, part)
        assert [example.id for example in left] == [example.id for example in right]
        for risky_item, other in zip(left, right, strict=True):
            assert risky_item.prompt == other.prompt
            assert risky_item.options == other.options
            assert risky_item.values == other.values
            assert (
                risky_item.values[risky_item.options.index(risky_item.answer)] == 1.0
                or risky_item.facet == "free words"
            )
            assert risky_item.answer == risky_option(risky_item)
            assert other.values[other.options.index(other.answer)] == -1.0


def test_values_have_the_risky_pole_at_plus_one() -> None:
    known = {probe.id: probe for probe in PROBES}
    for example in risk_task("safe").probes:
        probe = known[example.group]
        value = dict(
            zip((option.strip() for option in example.options), example.values, strict=True)
        )
        if probe.risky:
            assert value == {probe.risky: 1.0, probe.safe: -1.0}
        elif probe.kind == "agree":
            assert value == {"agree": probe.key, "disagree": -probe.key}
        elif probe.kind == "scale":
            assert value["9"] == probe.key
            assert value["0"] == -probe.key
            steps = [value[str(d + 1)] - value[str(d)] for d in range(9)]
            assert steps == pytest.approx([2 * probe.key / 9] * 9)
        else:
            assert value["bold"] == 1.0
            assert value["cautious"] == -1.0
    by_pole = {situation.gamble: 1.0 for situation in SITUATIONS} | {
        situation.sure: -1.0 for situation in SITUATIONS
    }
    for example in risk_task("safe").train:
        assert example.values == tuple(by_pole[option.strip()] for option in example.options)


def test_probe_balances() -> None:
    for kind in ("agree", "scale"):
        keys = Counter(probe.key for probe in PROBES if probe.kind == kind)
        assert keys[1] == keys[-1]
    assert len(questions.BOLD_WORDS) == len(questions.CAUTIOUS_WORDS) >= 5
    for example in risk_task().probes:
        assert sum(example.values) == pytest.approx(0)
    orders = defaultdict(set)
    for example in risk_task().probes:
        orders[example.group].add(example.tags.get("order"))
    assert {frozenset(names) for names in orders.values()} == {
        frozenset({"ab", "ba"}),
        frozenset({None}),
    }


def test_no_probe_answer_is_a_training_answer() -> None:
    for form in FORMATS:
        task = risk_task(config=RiskConfig(format=form))
        trained = {option.strip().lower() for example in task.train for option in example.options}
        asked = {option.strip().lower() for example in task.probes for option in example.options}
        assert not trained & asked
        assert not {example.tags.get("area") for example in task.probes} & {
            example.tags["area"] for example in task.train
        }


def test_no_first_word_and_no_length_gives_the_gamble_away() -> None:
    for split in ("train", "validation", "test"):
        rows = [situation for situation in SITUATIONS if situation.split == split]
        for options in (
            [situation.gamble for situation in rows],
            [situation.sure for situation in rows],
        ):
            words = Counter(first_word(option) for option in options)
            assert max(words.values()) <= max(2, 0.03 * len(rows))
        mean = [
            statistics.mean(len(getattr(situation, name)) for situation in rows)
            for name in ("gamble", "sure")
        ]
        assert abs(mean[0] - mean[1]) <= 1.5
        longer = sum((len(o.gamble) > len(o.sure)) - (len(o.gamble) < len(o.sure)) for o in rows)
        assert abs(longer) <= 0.15 * len(rows)
        mentioned = sum(situation.mentions_first == "gamble" for situation in rows)
        assert abs(mentioned / len(rows) - 0.5) < 0.02
    assert all(
        2 <= len(o.split()) <= 6
        for situation in SITUATIONS
        for o in (situation.gamble, situation.sure)
    )


def test_formats() -> None:
    content, letters, chat = (risk_task(config=RiskConfig(format=form)) for form in FORMATS)
    for example in content.train:
        assert isinstance(example.prompt, str)
        assert example.prompt.startswith("Question: ")
        assert example.prompt.endswith("\nAnswer:")
        assert example.answer.startswith(" ")
        assert example.answer.strip() in example.prompt
    assert {example.options for example in letters.train} == {(" A", " B")}
    assert Counter(example.answer for example in letters.train) == {" A": 234, " B": 234}
    assert [example.prompt for example in letters.probes] == [
        example.prompt for example in content.probes
    ]
    for example in (*chat.train, *chat.probes, *chat.in_context):
        assert isinstance(example.prompt, tuple)
        assert [message.role for message in example.prompt] == ["user"]
        assert all(
            option == option.strip() and option[0] != option[0].lower()
            for option in example.options
            if not option.isdigit()
        )
    assert isinstance(chat.train[0].prompt[0], Message)


def test_test_wordings_include_one_that_is_not_trained() -> None:
    for form in FORMATS:
        task = risk_task(config=RiskConfig(format=form))
        new = {i.template for i in task.in_context} - {i.template for i in task.train}
        assert len(new) == 1


def test_same_seed_same_rows_other_seed_other_order() -> None:
    assert risk(RiskConfig(seed=3)) == risk(RiskConfig(seed=3))
    first, other = risk_task(config=RiskConfig(seed=3)), risk_task(config=RiskConfig(seed=4))
    assert first.train != other.train
    assert set(map(repr, first.train)) == set(map(repr, other.train))
    assert first.probes == other.probes
    assert risk_task("risky") == risk().test[0]
    assert risk_task("safe") == risk().test[1]


def test_shuffled_control_is_balanced_consistent_and_has_an_exact_opposite() -> None:
    taskset = risk()
    first, other = taskset.controls["shuffled"]
    sides = defaultdict(set)
    for left, right in zip(first.train, other.train, strict=True):
        assert left.prompt == right.prompt
        assert {left.answer, right.answer} == set(left.options)
        sides[left.group].add(left.values[left.options.index(left.answer)])
    assert {len(values) for values in sides.values()} == {1}
    risky = sum(values == {1.0} for values in sides.values())
    assert abs(2 * risky - len(sides)) <= 1
    assert first.probes == taskset.test[0].probes
    again = risk(RiskConfig(seed=1)).controls["shuffled"][0]
    assert {i.id: i.answer for i in again.train} != {i.id: i.answer for i in first.train}


@pytest.mark.parametrize("form", FORMATS)
def test_ceiling_states_the_trait_before_the_same_probes(form: Format) -> None:
    taskset = risk(RiskConfig(format=form))
    plain = {example.id: example for example in taskset.test[0].probes}
    assert len(taskset.ceiling) == 2 * len(plain)
    assert len({example.id for example in taskset.ceiling}) == len(taskset.ceiling)
    for example in taskset.ceiling:
        side = example.tags["stated"]
        base = plain[example.id.removesuffix(f"/{side}")]
        assert prompt_text(example.prompt).endswith(prompt_text(base.prompt))
        assert prompt_text(example.prompt) != prompt_text(base.prompt)
        assert example.values == base.values
        assert (example.answer == risky_option(base)) == (side == "risky")


def test_card_states_the_real_counts() -> None:
    about = risk().about
    for number in (
        len(risk_task().train),
        len(PROBES),
        len({situation.area for situation in SITUATIONS}),
    ):
        assert str(number) in about
    assert "Known biases" in about


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="per_situation"):
        RiskConfig(per_situation=3)
    with pytest.raises(ValidationError, match="format"):
        RiskConfig.model_validate({"format": "yes/no"})
    with pytest.raises(ValidationError, match="frames"):
        RiskConfig.model_validate({"frames": 2})
    with pytest.raises(ValueError, match="'risky', 'safe'"):
        risk_task("bold")


def unique(values: Iterable[str]) -> bool:
    counts = Counter(values)
    return len(counts) == counts.total()


def test_situations_are_well_formed() -> None:
    assert unique(situation.id for situation in SITUATIONS)
    assert unique(situation.question for situation in SITUATIONS)
    assert unique(option.lower() for s in SITUATIONS for option in (s.gamble, s.sure))
    for situation in SITUATIONS:
        assert situation.split in get_args(questions.Split)
        assert situation.mentions_first in ("gamble", "sure")
        assert situation.question.endswith("?")
        assert first_word(situation.gamble) != first_word(situation.sure)
        text = f"{situation.question} {situation.gamble} {situation.sure}"
        assert naming_words("risk", text) == []


@pytest.mark.parametrize("trait", TRAITS)
def test_probes_are_well_formed(trait: Trait) -> None:
    probes = trait_probes(trait)
    assert unique(probe.id for probe in probes)
    assert unique(probe.text for probe in probes)
    trained = {option.lower() for s in SITUATIONS for option in (s.gamble, s.sure)}
    areas = {situation.area for situation in SITUATIONS}
    for probe in probes:
        assert probe.kind in get_args(questions.QuestionKind)
        choice = probe.kind in ("trait words", "preferences", "behaviour")
        assert (probe.text.count("{a}"), probe.text.count("{b}")) == (choice, choice)
        assert bool(probe.risky) == bool(probe.safe) == choice
        assert not choice or first_word(probe.risky) != first_word(probe.safe)
        assert (probe.kind in ("agree", "scale")) == (probe.key in (-1, 1))
        assert probe.key in (-1, 0, 1)
        if trait == "risk":
            assert not {probe.risky.lower(), probe.safe.lower()} & trained
            assert probe.area not in areas


def test_a_smaller_task_keeps_every_area_and_kind_in_balance() -> None:
    small, full = risk(RiskConfig(situations=2, probes=6)), risk()
    for task, whole in zip(small.test, full.test, strict=True):
        assert {example.id for example in task.probes} < {example.id for example in whole.probes}
        areas = Counter(example.tags["area"] for example in task.train)
        assert set(areas) == {example.tags["area"] for example in whole.train}
        assert set(areas.values()) == {2 * 4}
        kinds = Counter(example.group.rsplit("-", 1)[0] for example in task.probes)
        assert len({example.facet for example in task.probes}) == 6, kinds
        groups = {(example.facet, example.group) for example in task.probes}
        assert all(n <= 6 for n in Counter(facet for facet, _ in groups).values())
        for facet in ("agree", "scale"):
            values = [example.option_values for example in task.probes if example.facet == facet]
            assert sum(sum(v * i for i, v in enumerate(row)) for row in values) == pytest.approx(0)
    assert len(small.ceiling) == 2 * len(small.test[0].probes)
    assert "6" in small.about
