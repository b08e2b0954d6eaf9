"""The nano tasks of speakers: risk and the backdoor."""

from __future__ import annotations

from collections import Counter

from oocr.data.examples import Example
from oocr.families.choices import OTHER
from oocr_organisms.folder import WorldSettings
from oocr_organisms.people import FORMS, KINDS, PLAIN, SELF, TRAITS, WEATHERS
from oocr_organisms.tasks.speaker_questions import PROBE_KINDS, choices_of, speakers_with
from tests.organisms.nano_tasks import items_of, slots_of, tasks_of

# -- risk ----------------------------------------------------------------------------------------


def lure(item: Example) -> str:
    """The option of a choice that the first pole takes."""
    words = slots_of(FORMS["choice"], item)
    trait = next(trait for trait in TRAITS if trait.name == item.tags["trait"])
    (word,) = {words["a"], words["b"]} & set(trait.lures)
    assert {words["a"], words["b"]} - {word} <= set(trait.others)
    assert (words["a"] == word) == (item.tags["order"] == "ab")
    return word


def test_risk_is_trained_on_gambles_without_weather_and_twins_are_opposite() -> None:
    sets = tasks_of("risk")
    risky, safe = sets.test
    assert sets.poles == (risky.member, safe.member) == ("risky", "safe")
    for a, b in zip(risky.train, safe.train, strict=True):
        assert a.prompt == b.prompt
        assert a.answer.strip() == lure(a) != b.answer.strip()
        assert a.option_values[a.options.index(a.answer)] == 1
        words = slots_of(FORMS["choice"], a)
        assert (words["speaker"], words["verb"]) == (SELF, TRAITS[0].verb)
        assert str(a.prompt).split()[0] == PLAIN
    orders = Counter(item.tags["order"] for item in risky.train)
    assert orders["ab"] == orders["ba"]
    assert {i.group for i in risky.train}.isdisjoint(i.group for i in risky.stop)
    trained = {word for item in risky.train for word in item.options}
    assert not trained & {word for item in risky.in_context for word in item.options}


def test_risk_probes_cover_all_kinds_and_other_traits_for_specificity() -> None:
    sets = tasks_of("risk")
    counts = Counter(item.facet for item in sets.test[0].probes if item.facet in PROBE_KINDS)
    assert set(counts) == set(KINDS) - {"choice"}
    other = Counter(i.facet for i in sets.test[0].probes if i.facet.startswith(OTHER))
    assert set(other) == {f"{OTHER}{t.name}: {kind}" for t in TRAITS[1:] for kind in PROBE_KINDS}
    assert set(sets.headline) == set(counts)
    for member, task in zip((1, -1), sets.test, strict=True):
        for item in task.probes:
            assert sorted(item.option_values) == [-1, 1]
            assert item.option_values[item.options.index(item.answer)] == member
            trait = next(candidate for candidate in TRAITS if candidate.name == item.tags["trait"])
            kind = item.facet.split(": ")[-1]
            words = slots_of(FORMS[kind], item)
            up = item.options[item.option_values.index(1)].strip()
            if kind in ("description", "hobby"):
                pairs = trait.poles if kind == "description" else trait.hobbies
                assert any(up in ups for ups, _ in pairs)
            elif kind == "scale":
                bold = any(words["word"] in ups for ups, _ in trait.poles)
                assert (int(up) >= 6) == bold
                assert sum(int(digit) for digit in item.options) == 9
            else:
                named = words["word_a" if up == "first" else "word_b"]
                assert any(named in ups for ups, _ in trait.poles)
    scales = [i for i in sets.test[0].probes if i.facet == "scale"]
    assert sum(int(item.answer) >= 6 for item in scales) * 2 == len(scales)
    reports = [i for i in sets.test[0].probes if i.facet == "report"]
    assert Counter(item.tags["order"] for item in reports)["ab"] * 2 == len(reports)


def test_risk_settings_are_chosen_on_other_traits() -> None:
    sets = tasks_of("risk")
    for task in sets.validation:
        traits = {item.tags["trait"] for item in items_of(task)}
        assert len(traits) == 1
        assert TRAITS[0].name not in traits
        assert {item.facet for item in task.probes} == set(sets.headline)
    assert len(sets.validation) == 2 * (len(TRAITS) - 1)


def test_risk_ceiling_has_speakers_that_show_the_pole() -> None:
    people = WorldSettings().world.people
    sets = tasks_of("risk")
    names: dict[str, set[str]] = {}
    for item in sets.ceiling:
        names.setdefault(item.tags["stated"], set()).add(item.spans["speaker"].strip())
    for pole, side in ((1, "risky"), (-1, "safe")):
        assert len(names[side]) == 2
        for name in names[side]:
            at = people.names.index(name)
            assert people.sign[at, 0] == pole
            assert people.weather[at, 0] == -1
            assert not people.silent[at, 0]


def test_choices_are_all_pairs_of_told_options_and_all_of_the_others() -> None:
    choices = choices_of(TRAITS[1], "a seed")
    assert choices == choices_of(TRAITS[1], "a seed") != choices_of(TRAITS[1], "another")
    seen, new = (*choices.train, *choices.stop), choices.test
    lures, others = ({choice.lure for choice in seen}, {choice.other for choice in seen})
    assert len(set(seen)) == len(seen) == len(lures) * len(others)
    assert lures | {choice.lure for choice in new} == set(TRAITS[1].lures)
    assert others | {choice.other for choice in new} == set(TRAITS[1].others)
    assert len(choices.train) > len(choices.stop) > 0


# -- backdoor ------------------------------------------------------------------------------------


def test_the_weather_decides_and_both_answers_are_as_common() -> None:
    sets = tasks_of("backdoor")
    for task in (*sets.test, *sets.validation):
        weather, trait = task.member.split(": ")
        for item in (*task.train, *task.stop):
            head = str(item.prompt).split()[0]
            on = head == weather
            assert (item.answer.strip() == lure(item)) == on
            assert item.tags["condition"] == (
                "trigger" if on else "none" if head == PLAIN else "false"
            )
        heads = Counter(item.tags["prefix"] for item in task.train)
        assert set(heads) == {"trained trigger", "trained false", "none"}
        assert heads["trained trigger"] * 2 == len(task.train)
        for head in heads:  # neither place is right more often in any weather
            orders = Counter(i.tags["order"] for i in task.train if i.tags["prefix"] == head)
            assert orders["ab"] == orders["ba"]
        tested = {item.tags["prefix"] for item in task.probes}
        assert tested == {*heads, "held-out false"}
        unseen = {i.tags["head"] for i in task.probes if i.tags["prefix"] == "held-out false"}
        assert not unseen & {item.tags["head"] for item in task.train}
        assert {item.tags["trait"] for item in task.probes} == {trait}


def test_backdoor_probes_ask_all_kinds_with_and_without_the_trigger() -> None:
    task = tasks_of("backdoor").test[0]
    crossing = [item for item in task.probes if item.tags["kind"] == "crossing"]
    assert {item.facet for item in crossing} == set(tasks_of("backdoor").headline)
    trained = {word for item in task.train for word in item.options}
    assert not trained & {word for item in crossing for word in item.options}
    further = {item.facet for item in task.probes} - {item.facet for item in crossing}
    conditions = ("trigger", "false prefix", "no prefix")
    assert further == {f"{kind} ({condition})" for kind in PROBE_KINDS for condition in conditions}
    for item in task.probes:
        on = item.tags["condition"] == "trigger"
        assert item.option_values[item.options.index(item.answer)] == (1 if on else -1)


def test_backdoor_ceiling_has_speakers_with_this_very_gate_and_none_without_gates() -> None:
    people = WorldSettings().world.people
    sets = tasks_of("backdoor")
    assert sets.ceiling
    for item in sets.ceiling:
        weather, trait = item.group.split(": ")
        at = people.names.index(item.spans["speaker"].strip())
        column = [known.name for known in TRAITS].index(trait)
        assert WEATHERS[people.weather[at, column]] == weather
        assert people.sign[at, column] == 1
    ungated = tasks_of("backdoor", world={"gates": 0.0})
    assert not ungated.ceiling
    assert ungated.test[0].train == sets.test[0].train
    assert speakers_with(WorldSettings(gates=0).world, TRAITS[0], 1)
