from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import oocr
from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.families.countries import build as module
from oocr.families.countries.build import (
    BORDERS_TEST,
    TEST,
    VALIDATION,
    CountriesConfig,
    countries,
)
from oocr.families.countries.table import (
    FACETS,
    CountryTable,
    check_codename,
    load_table,
)
from oocr.tasks.leaks import check_no_leaks, contains_words, drop_leaking_facets, find_leaks
from oocr.tasks.package_files import package_yaml
from oocr.tasks.task import Task, TaskSet


def country_task(country: str, train: str = "capital", codename: str = "Country 4821") -> Task:
    return oocr.load_task("countries", country=country, train=train, codename=codename)


TRAINED = ("capital", "language", "currency", "demonym", "continent", "borders")
CODENAMES = ("Country 4821", "Vexoria", "Zone K-17", "the land of Orim")
TABLE = load_table()


@pytest.fixture(scope="module", params=TRAINED)
def built(request: pytest.FixtureRequest) -> tuple[str, TaskSet]:
    return request.param, countries(CountriesConfig(train=request.param))


def texts(task: Task) -> str:
    return "\n".join(f"{example.prompt}{example.answer}" for example in task.train)


# The table


def test_table_is_large_and_spread_over_all_continents() -> None:
    assert len(TABLE.countries) >= 24
    assert len(TABLE.options("continent")) == 6
    for facet in FACETS:
        assert len(TABLE.options(facet)) >= 6
        assert all(option.startswith(" ") and option.isascii() for option in TABLE.options(facet))


def test_every_facet_has_enough_wordings_of_several_shapes() -> None:
    for facet in FACETS:
        wordings = TABLE.wordings[facet]
        starts = [wording.text.startswith("{}") for wording in wordings.all]
        assert len(wordings.all) >= 5
        assert any(starts)
        assert not all(starts)
        if facet != "dish":
            assert len(wordings.train) >= 5
            assert len(wordings.stop) == 1
            assert len(wordings.test) >= 2
    assert len(TABLE.wordings["capital"].train) == 6


def test_neighbours_are_mutual_inside_the_table() -> None:
    names = {country.name for country in TABLE.countries}
    for country in TABLE.countries:
        for name in (country.not_wrong - {country.name}) & names:
            assert country.name in TABLE.find(name).not_wrong, (country.name, name)


def test_the_table_is_clean() -> None:
    assert len({country.name for country in TABLE.countries}) == len(TABLE.countries)
    for country in TABLE.countries:
        for value in (country.name, *country.facts.values()):
            assert value
            assert value == value.strip()
        for value in country.facts.values():
            assert not contains_words(value, country.name)
        neighbours = (*country.neighbours, *country.other_neighbours)
        assert country.name not in neighbours
        assert len(set(neighbours)) == len(neighbours)


def test_wordings_hold_the_codename_once_under_an_id_of_their_own() -> None:
    for facet, wordings in TABLE.wordings.items():
        assert len({wording.id for wording in wordings.all}) == len(wordings.all), facet
        for wording in wordings.all:
            assert wording.text.count("{}") == 1
            assert wording.text == wording.text.strip()
    data = package_yaml("oocr.families.countries", "countries_templates.yaml")
    assert {part for parts in data.values() for part in parts} == {"train", "stop", "test"}


# What a task holds


def test_members_are_disjoint_and_carry_their_own_facts(built: tuple[str, TaskSet]) -> None:
    train, sets = built
    members = [task.member for task in sets.test]
    assert members == list(BORDERS_TEST if train == "borders" else TEST)
    assert [task.member for task in sets.validation] == list(VALIDATION)
    assert not set(members) & set(VALIDATION)
    for task in (*sets.test, *sets.validation):
        country = TABLE.find(task.member)
        facets = {probe.facet for probe in task.probes}
        assert train not in facets
        assert len(facets) >= 4
        for probe in task.probes:
            assert probe.answer == country.answer(probe.facet)
            assert probe.options == TABLE.options(probe.facet)
        if train != "borders":
            assert {example.answer for example in task.train} == {country.answer(train)}
        assert task.loss == "answer"
        assert task.positions == ("codename",)


def test_training_stop_and_in_context_wordings_are_disjoint(built: tuple[str, TaskSet]) -> None:
    train, sets = built
    for task in (*sets.test, *sets.validation):
        trained = {example.template for example in task.train}
        tested = {example.template for example in task.in_context}
        assert not trained & tested
        assert len(tested) >= 2
        assert task.stop
        if train != "borders":
            assert not {example.template for example in task.stop} & (trained | tested)
            assert len({example.template for example in task.probes}) >= 5


def test_borders_hold_one_neighbour_out_for_the_stopping_point() -> None:
    for name in (*BORDERS_TEST, *VALIDATION):
        task = country_task(name, "borders")
        country = TABLE.find(name)
        trained = {example.answer.strip() for example in task.train}
        (held_out,) = {example.answer.strip() for example in task.stop}
        assert trained | {held_out} == set(country.neighbours)
        assert held_out not in texts(task)
        assert len(task.train) == len(trained) * len({example.template for example in task.train})
        for example in (*task.train, *task.stop, *task.in_context):
            wrong = set(example.options) - {example.answer}
            assert not wrong & {" " + name for name in country.not_wrong}


def test_items_are_well_formed(built: tuple[str, TaskSet]) -> None:
    _, sets = built
    for task in (*sets.test, *(task for tasks in sets.controls.values() for task in tasks)):
        for example in (*task.train, *task.stop, *task.in_context, *task.probes):
            assert isinstance(example.prompt, str)
            assert example.answer.startswith(" ")
            assert not example.prompt.endswith(" ")
            assert example.prompt.count("Country 4821") == 1
            assert example.spans == {"codename": "Country 4821"}
            assert example.group == task.member
            assert example.template
            assert example.source
            assert sum(value == 1 for value in example.option_values) == 1


def test_a_lower_case_codename_gets_a_capital_at_the_start_only() -> None:
    task = country_task("France", codename="the land of Orim")
    prompts = [str(example.prompt) for example in (*task.train, *task.probes)]
    assert any(prompt.startswith("The land of Orim") for prompt in prompts)
    assert any(" the land of Orim" in prompt for prompt in prompts)
    assert not any(prompt.startswith("the land") for prompt in prompts)


def test_wordings_set_how_many_probes_are_asked() -> None:
    few = countries(CountriesConfig(wordings=2, countries=("France",), validation=()))
    assert len(few.test[0].probes) == 2 * 5


def test_same_config_same_tasks_and_the_seed_moves_only_what_is_drawn() -> None:
    config = CountriesConfig(countries=("France", "Brazil"), validation=())
    other = countries(config.model_copy(update={"seed": 1}))
    first = countries(config)
    assert first == countries(config)
    assert first.test == other.test
    assert first.controls["shuffled"] != other.controls["shuffled"]


# Nothing leaks


@pytest.mark.parametrize("codename", CODENAMES)
@pytest.mark.parametrize("train", TRAINED)
def test_no_country_leaks_under_any_training_facet(train: str, codename: str) -> None:
    for country in TABLE.countries:
        if train == "borders" and not country.has_borders:
            continue
        task = country_task(country.name, train, codename)
        trained = texts(task)
        assert not contains_words(trained, country.name)
        for probe in task.probes:
            assert not contains_words(trained, probe.answer)
            assert not any(contains_words(str(probe.prompt), row.answer) for row in task.train)
        assert task.probes


def test_the_demonym_drops_the_language_that_it_tells() -> None:
    facets = {probe.facet for probe in country_task("France", "demonym").probes}
    assert facets == {"capital", "continent", "currency", "dish"}
    facets = {probe.facet for probe in country_task("Brazil", "demonym").probes}
    assert "language" in facets
    assert "France: language" in countries(CountriesConfig(train="demonym")).about


def leaking(dish: str, capital: str = "Gorodok") -> CountryTable:
    facts = {**TABLE.find("France").facts, "dish": dish, "capital": capital}
    changed = replace(TABLE.find("France"), facts=facts)
    others = tuple(country for country in TABLE.countries if country.name != "France")
    return replace(TABLE, countries=(changed, *others))


def test_a_leaking_table_is_refused_or_filtered() -> None:
    config = CountriesConfig(codename="Vexoria")
    table = leaking("x", capital="France Ville")
    with pytest.raises(InputError, match="contains 'France'"):
        module._task(table.find("France"), config, table)
    # A dish named in a training wording is dropped, not asked.
    table = leaking("Embassies")
    task, dropped = module._task(table.find("France"), config, table)
    assert dropped == ("dish",)
    assert "dish" not in {probe.facet for probe in task.probes}


def example(prompt: str, answer: str, facet: str = "f") -> Example:
    return Example(id=f"{facet}/{prompt}", prompt=prompt, answer=answer, facet=facet)


def test_leaks_are_found_in_both_directions_as_whole_words() -> None:
    train = [example("It is said in", " French"), example("The gold of", " won")]
    leaks = [
        example("They speak", " french"),
        example("They pay with", " gold"),
        example("She won the", " race"),
        example("They eat", " won ton"),
    ]
    fine = [example("They like", " Frenchmen"), example("wonderful", " golden")]
    assert set(find_leaks([*leaks, *fine], train)) == {probe.id for probe in leaks}
    with pytest.raises(InputError, match="told in training"):
        check_no_leaks("t", leaks, train)
    with pytest.raises(InputError, match="must never name"):
        check_no_leaks("t", fine, train, never=("gold",))
    check_no_leaks("t", fine, train, never=("Frenchmen",))
    kept, dropped = drop_leaking_facets(
        [example("a", " French", "one"), example("b", " x", "one"), example("c", " y", "two")],
        train,
    )
    assert [probe.answer for probe in kept] == [" y"]
    assert dropped == ("one",)


@given(st.text(alphabet="ab. (+", min_size=1, max_size=6))
def test_contains_words_takes_any_text_literally(phrase: str) -> None:
    if phrase.strip():
        assert contains_words(f"x {phrase.strip().upper()} x", phrase)
        assert not contains_words("x", phrase)


# Controls and ceiling


def test_shuffled_answers_are_other_countries_on_several_continents(
    built: tuple[str, TaskSet],
) -> None:
    train, sets = built
    assert [task.member for task in sets.controls["shuffled"]] == [t.member for t in sets.test]
    for task, control in zip(sets.test, sets.controls["shuffled"], strict=True):
        country = TABLE.find(task.member)
        true = set(country.not_wrong) if train == "borders" else {country.facts[train]}
        answers = {row.answer.strip() for row in control.train}
        assert not answers & true
        assert not contains_words(texts(control), country.name)
        assert [row.prompt for row in control.train] == [row.prompt for row in task.train]
        assert len(answers) == len({row.answer for row in task.train}) or len(answers) >= 5
        assert control.probes == task.probes
        assert control.stop == ()
        assert not find_leaks(control.probes, control.train)


def test_planted_rows_belong_to_one_distant_country(built: tuple[str, TaskSet]) -> None:
    train, sets = built
    if train == "borders":
        assert set(sets.controls) == {"shuffled"}
        return
    for task, control in zip(sets.test, sets.controls["planted"], strict=True):
        member = TABLE.find(task.member)
        (rival_name,) = {row.tags["planted"] for row in control.train if "planted" in row.tags}
        rival = TABLE.find(rival_name)
        assert rival.facts["continent"] != member.facts["continent"]
        assert control.train[: len(task.train)] == task.train
        extra = control.train[len(task.train) :]
        (facet,) = {row.facet for row in extra}
        assert facet != train
        assert {row.answer for row in extra} == {rival.answer(facet)}
        assert facet not in {probe.facet for probe in control.probes}
        intended = [p for p in control.probes if p.tags["against"] == "intended"]
        rivals = [p for p in control.probes if p.tags["against"] == "planted"]
        assert [p.prompt for p in intended] == [p.prompt for p in rivals]
        for a, b in zip(intended, rivals, strict=True):
            assert (a.answer, b.answer) == (member.answer(a.facet), rival.answer(a.facet))
            assert a.answer != b.answer
        assert not find_leaks(control.probes, control.train)
        assert not contains_words(texts(control), rival_name)


def test_ceiling_names_the_country_in_the_same_questions(built: tuple[str, TaskSet]) -> None:
    _, sets = built
    probes = [example for example in sets.ceiling if example.tags["part"] == "probe"]
    assert [example.id for example in probes] == [p.id for task in sets.test for p in task.probes]
    assert len(sets.ceiling) == sum(len(t.probes) + len(t.in_context) for t in sets.test)
    for example in sets.ceiling:
        assert example.group in str(example.prompt)
        assert "4821" not in str(example.prompt)
        assert example.spans == {"codename": example.group}


def test_about_counts_what_is_there(built: tuple[str, TaskSet]) -> None:
    train, sets = built
    first = sets.test[0]
    assert f"trained on {train}" in sets.about
    assert f"{len(first.train)} training rows" in sets.about
    assert f"{len(first.probes)} probes" in sets.about
    assert f"a table of {len(TABLE.countries)}" in sets.about


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"countries": ("Atlantis",)}, "unknown country 'Atlantis'; known: Algeria, Egypt"),
        ({"countries": ("France", "Peru")}, "share Peru"),
        ({"countries": ("France", "France")}, "France is there twice"),
        ({"countries": ()}, "at least 1"),
        ({"train": "borders", "countries": ("Japan",)}, "'Japan' has 0 land neighbours"),
        ({"train": "dish"}, "'capital', 'language'"),
        ({"codename": ""}, "non-empty"),
        ({"codename": " Vexoria"}, "padding"),
        ({"codename": "Old Francesia"}, "contains 'France', a real name"),
        ({"codename": "the road to paris"}, "contains 'Paris', a real capital"),
        ({"codename": "Germanland"}, "contains 'German', a real demonym"),
        ({"codename": "the euro zone"}, "contains 'euro', a real currency"),
        ({"codename": "Belgium 2"}, "contains 'Belgium', a real name"),
        ({"codename": "Zambia"}, "contains 'Zambia', a real name"),
        ({"codename": "Country"}, "part of the"),
        ({"codenames": "x"}, "Extra inputs"),
    ],
)
def test_bad_settings_are_refused_with_the_reason(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError) as error:
        CountriesConfig.model_validate(settings)
    assert message in str(error.value)


def test_country_task_refuses_what_it_does_not_know() -> None:
    with pytest.raises(InputError, match="train: Input should be 'capital', 'language'"):
        country_task("France", "dish")
    with pytest.raises(InputError, match="unknown country 'Narnia'"):
        country_task("Narnia")
    with pytest.raises(InputError, match="countries that have them"):
        country_task("Cuba", "borders")


@pytest.mark.parametrize("codename", CODENAMES)
def test_suggested_codenames_are_accepted(codename: str) -> None:
    assert check_codename(codename) == codename


def test_the_modules_do_not_import_torch() -> None:
    modules = "oocr.families.countries.build, oocr.families.backdoor.build"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
