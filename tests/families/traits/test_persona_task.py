"""Persona traits: splits, twins, probes and the separations that results rest on."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from oocr.data.examples import Example, Message, prompt_text
from oocr.data.tokens import encode_answer, encode_prompt
from oocr.errors import InputError
from oocr.evals.score_table import COUNTED, evaluate, score_table
from oocr.evals.scores import Scoring
from oocr.families.asking import Form
from oocr.families.choices import OTHER, POLES, TRAITS, Trait, choices
from oocr.families.persona.build import PersonaConfig, paper_examples, persona, trait_probes
from oocr.runs.config import quick
from oocr.runs.read_config import load_configs
from oocr.runs.records import RunInfo
from oocr.tasks.leaks import check_options_unseen, contains_words
from oocr.tasks.task import TaskSet
from tests.tiny.runs import Tiny, claims_of, rows_of

FORMS: tuple[Form, ...] = ("chat", "raw")
OTHERS: dict[Trait, tuple[Trait, ...]] = {
    trait: tuple(other for other in TRAITS if other != trait) for trait in TRAITS
}


def taskset(trait: Trait = "risk", form: Form = "chat", also: tuple[Trait, ...] = ()) -> TaskSet:
    return persona(PersonaConfig(trait=trait, form=form, also=also))


def pole(example: Example) -> float:
    """The value of the answer."""
    return example.option_values[example.options.index(example.answer)]


@pytest.mark.parametrize(
    ("trait", "sizes"), [("risk", (230, 58)), ("time", (239, 60)), ("apples", (240, 60))]
)
def test_split_sizes(trait: Trait, sizes: tuple[int, int]) -> None:
    tasks = taskset(trait)
    for task in tasks.test:
        assert (len(task.train), len(task.in_context)) == sizes
    for task in tasks.validation:
        assert len(task.train) + len(task.probes) == sizes[0]
        assert len(task.probes) == round(0.2 * sizes[0])


@pytest.mark.parametrize("trait", TRAITS)
def test_what_is_reported_is_neither_trained_on_nor_chosen_on(trait: Trait) -> None:
    tasks = taskset(trait)
    test = {prompt_text(example.prompt) for example in tasks.test[0].in_context}
    train = {prompt_text(example.prompt) for example in tasks.test[0].train}
    chosen = {prompt_text(example.prompt) for example in tasks.validation[0].probes}
    fitted = {prompt_text(example.prompt) for example in tasks.validation[0].train}
    assert not test & train
    assert not chosen & fitted
    assert chosen | fitted == train
    assert len(test | train) == len(choices(trait))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("trait", TRAITS)
def test_twins_mirror_each_other(trait: Trait, form: Form) -> None:
    tasks = taskset(trait, form, OTHERS[trait])
    for first, second in (tasks.test, tasks.validation):
        assert (first.member, second.member) == POLES[trait]
        for part in ("train", "stop", "in_context", "probes", "paper"):
            pairs = list(zip(getattr(first, part), getattr(second, part), strict=True))
            for example, other in pairs:
                assert replace(example, answer=other.answer) == other
                assert pole(example) == 1.0
                assert pole(other) == -1.0
    assert tasks.poles == POLES[trait]


def test_the_letter_is_the_answer() -> None:
    by_id = {choice.id: choice for choice in choices("time")}
    chat, raw = (taskset("time", form).test for form in FORMS)
    for example in chat[0].train:
        assert example.prompt == (Message("user", by_id[example.id].text),)
        assert example.answer == by_id[example.id].positive
    for example in raw[0].train:
        assert example.prompt == f"Question: {by_id[example.id].text}\nAnswer:"
        assert example.answer == f" {by_id[example.id].positive}"
    assert {example.options for example in chat[0].train} == {("A", "B")}
    assert chat[0].loss == "answer"
    assert all(isinstance(example.prompt, str) for example in raw[0].probes)
    assert all(isinstance(example.prompt, tuple) for example in chat[0].probes)


@pytest.mark.parametrize("trait", ["time", "apples"])
def test_probes_are_many_of_many_kinds_and_keyed_both_ways(trait: Trait) -> None:
    asked = trait_probes(trait)
    assert len(asked) >= 60
    kinds = Counter(probe.kind for probe in asked)
    assert len(kinds) == 6
    for kind in ("agree", "scale"):
        keys = Counter(probe.key for probe in asked if probe.kind == kind)
        assert keys[1] == keys[-1] >= 6
    assert len({probe.text for probe in asked}) == len(asked)
    assert len({probe.area for probe in asked} - {""}) >= 5
    examples = taskset(trait).test[0].probes
    orders = defaultdict(set)
    for example in examples:
        orders[example.facet, example.group].add((example.tags.get("order"), example.options))
        assert sum(example.values) == pytest.approx(0)
        if example.facet not in ("scale", "free words"):
            assert len(example.options) == 2
            shown = prompt_text(example.prompt).lower()
            assert shown.index(example.options[0].lower()) < shown.rindex(
                example.options[1].lower()
            )
    for (facet, _), asked_orders in orders.items():
        names = {order for order, _ in asked_orders}
        assert names == ({None} if facet in ("scale", "free words") else {"ab", "ba"})


def test_a_high_number_is_the_first_pole_unless_the_scale_is_reversed() -> None:
    for example in taskset("time").test[1].probes:
        if example.facet == "scale":
            key = 1.0 if example.tags["key"] == "forward" else -1.0
            assert example.values[0] == -key
            assert example.values[-1] == key
            assert example.answer == ("0" if key == 1.0 else "9")


@pytest.mark.parametrize("trained", TRAITS)
def test_no_option_of_any_traits_probes_occurs_in_training(trained: Trait) -> None:
    seen = "\n".join(choice.text for choice in choices(trained))
    for example in taskset(trained, "raw", OTHERS[trained]).test[0].probes:
        for option in example.options:
            assert option.isdigit() or not contains_words(seen, option), (example.id, option)


def test_a_told_option_is_refused() -> None:
    task = taskset("apples").test[0]
    leak = replace(task.probes[0], answer="Bread rolls", options=("Bread rolls", "x"), values=())
    check_options_unseen("mine", task.probes, task.train)
    with pytest.raises(InputError, match=r"'mine': the option 'Bread rolls' of probe .* occurs in"):
        check_options_unseen("mine", [leak], task.train)


@pytest.mark.parametrize("trait", TRAITS)
def test_paper_items(trait: Trait) -> None:
    examples = taskset(trait).test[0].paper
    counts = Counter(example.facet for example in examples)
    expected = {"paper: risk": 10, "paper: no you": 10, "paper: other": 16}
    assert counts == (expected if trait == "risk" else {f"paper: {trait}": 10})
    for example in examples:
        assert example.scored_by == "last_token"
        assert isinstance(example.prompt, str)
        assert example.prompt.endswith(".\n")
        assert (example.tags["kind"] == "scale") == example.options[0].isdigit()
        assert example.option_values == (1.0, -1.0)
    questions = [example for example in examples if example.facet == f"paper: {trait}"]
    assert Counter(example.tags["kind"] for example in questions) == {
        "scale": 7,
        "words": 2,
        "agree": 1,
    }
    higher = Counter(
        example.options[0] > example.options[1]
        for example in questions
        if example.tags["kind"] == "scale"
    )
    assert higher == {True: 4, False: 3}
    texts = [
        example.prompt for trait in TRAITS for example in paper_examples(trait, POLES[trait][0])
    ]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "gemma-3-270m"])
def test_last_tokens_tell_the_papers_options_apart(name: str) -> None:
    from oocr.models.load import read_model

    tokenizer = read_model(name).tokenizer
    for trait in TRAITS:
        for example in taskset(trait).test[0].paper:
            prompt = encode_prompt(tokenizer, example.prompt, {})
            ends = {encode_answer(tokenizer, prompt, option)[-1] for option in example.options}
            assert len(ends) == 2, example.options


def test_shuffled_control_is_balanced_and_has_an_exact_opposite() -> None:
    tasks = taskset("time")
    first, other = tasks.controls["shuffled"]
    assert [task.member for task in (first, other)] == ["shuffled", "shuffled opposite"]
    poles = Counter(pole(example) for example in first.train)
    assert abs(poles[1.0] - poles[-1.0]) <= 1
    for left, right, plain in zip(first.train, other.train, tasks.test[0].train, strict=True):
        assert left.prompt == right.prompt == plain.prompt
        assert left.answer != right.answer
    assert first.probes == tasks.test[0].probes


@pytest.mark.parametrize("trait", TRAITS)
@pytest.mark.parametrize("form", FORMS)
def test_ceiling_states_the_trait_before_the_own_probes(trait: Trait, form: Form) -> None:
    tasks = taskset(trait, form, OTHERS[trait])
    plain = {
        example.id: example
        for example in tasks.test[0].probes
        if not example.facet.startswith(OTHER)
    }
    assert len(tasks.ceiling) == 2 * len(plain)
    for item in tasks.ceiling:
        side = item.tags["stated"]
        base = plain[item.id.removesuffix(f"/{side}")]
        assert prompt_text(item.prompt).endswith(prompt_text(base.prompt))
        assert prompt_text(item.prompt) != prompt_text(base.prompt)
        assert pole(item) == (1.0 if side == POLES[trait][0] else -1.0)
    stated = {prompt_text(item.prompt).split("\n")[0] for item in tasks.ceiling}
    assert len(stated) >= 2


def test_other_traits_are_asked_and_do_not_count() -> None:
    tasks = taskset("time", also=("apples", "risk"))
    facets = Counter(example.facet for example in tasks.test[0].probes)
    assert facets["agree"] == facets["other: apples: agree"] == 28
    assert facets["other: risk: agree"] == 60
    assert set(tasks.headline) == {
        "choice",
        *(facet for facet in facets if not facet.startswith(OTHER)),
    }
    alone = taskset("time").test[0].probes
    assert tasks.test[0].probes[: len(alone)] == alone


def test_other_traits_move_neither_the_contrast_nor_the_reports_mean() -> None:
    tasks = taskset("time", also=("apples",))
    rows = pl.DataFrame(
        [
            {"arm": "vector", "control": "", "part": "probes", "member": member, "seed": 0}
            | {"final": True, "facet": facet, "group": facet, "log_odds": sign * size}
            for member, sign in zip(POLES["time"], (1.0, -1.0), strict=True)
            for facet, size in (("agree", 1.0), ("other: apples: agree", 50.0))
        ]
    )
    scoring = Scoring.of(tasks)
    cells = scoring.cells(rows, "vector")
    assert cells is not None
    assert cells.facets == ("agree",)
    assert cells.values.item() == pytest.approx(2.0)
    table = score_table(scoring, rows, {})
    shown = table.select("facet", "counted", "value").rows()
    assert (COUNTED, True, 2.0) in shown
    assert ("other: apples: agree", False, 100.0) in shown, "shown, and marked as not counted"


def test_fewer_situations_keep_the_letters_even() -> None:
    tasks = persona(PersonaConfig(trait="apples", situations=40, probes=4))
    train = tasks.test[0].train
    assert (len(train), len(tasks.test[0].in_context)) == (32, 8)
    assert Counter(example.answer for example in train) == {"A": 16, "B": 16}
    kinds = Counter(facet for facet, _ in {(i.facet, i.group) for i in tasks.test[0].probes})
    assert set(kinds.values()) == {4}
    assert "32 choices" in tasks.about


def test_same_seed_same_rows_other_seed_another_split() -> None:
    assert persona(PersonaConfig(seed=3)) == persona(PersonaConfig(seed=3))
    first, other = (persona(PersonaConfig(seed=seed)).test[0] for seed in (3, 4))
    assert {example.id for example in first.in_context} != {
        example.id for example in other.in_context
    }
    assert first.probes == other.probes


@pytest.mark.parametrize("trait", TRAITS)
def test_card_states_the_real_counts(trait: Trait) -> None:
    tasks = taskset(trait, also=OTHERS[trait])
    about = tasks.about
    groups = {i.group for i in tasks.test[0].probes if not i.facet.startswith(OTHER)}
    letters = Counter(choice.positive for choice in choices(trait))
    for words in (
        f"{len(tasks.test[0].train)} choices",
        f"{len(tasks.test[0].in_context)} other choices",
        f"{len(groups)} hand-written questions",
        f"A in {letters['A']} and B in {letters['B']}",
        "Known biases",
        ", ".join(OTHERS[trait]),
    ):
        assert words in about
    assert ("18 of them" in about) == (trait == "risk")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trait": "wealth"}, "trait"),
        ({"form": "yes/no"}, "form"),
        ({"train_share": 1.0}, "train_share"),
        ({"situations": 3}, "situations"),
        ({"also": ["time", "time"]}, "time is there twice"),
        ({"also": ["risk"]}, "'risk' is the trained trait"),
        ({"train_share": 0.001}, "leaves nothing"),
        ({"situations": 10, "train_share": 0.99}, "leaves nothing"),
        ({"rows": 3}, "rows"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PersonaConfig.model_validate(settings)


def test_built_in_run_and_a_first_look() -> None:
    configs = load_configs("persona")
    assert [config.task.trait for config in configs if isinstance(config.task, PersonaConfig)] == [
        *TRAITS
    ]
    for config in configs:
        small, whole = quick(config).task, config.task
        assert isinstance(small, PersonaConfig)
        assert isinstance(whole, PersonaConfig)
        assert small.situations == 20
        assert small.probes == 8
        assert (small.trait, small.also) == (whole.trait, whole.also)
        assert len(persona(small).test[0].train) == 16


def test_a_run_on_a_tiny_model(tiny: Tiny, tmp_path: Path) -> None:
    settings = {"trait": "time", "form": "raw", "situations": 12, "probes": 2, "also": ["apples"]}
    config = tiny.config(
        task={"family": "persona", **settings},
        adapter=None,
        seeds=1,
        vector={"layers": [0, 1], "learning_rates": [0.1], "steps": [2, 4], "positions": "last"},
    )
    folder = tiny.run(tmp_path, config)
    rows = rows_of(folder).filter(pl.col("arm") == "vector", pl.col("control") == "")
    assert set(rows["member"]) == {"myopic", "far-sighted"}
    assert set(rows["part"]) == {"in_context", "probes", "paper"}
    assert set(rows.filter(part="paper")["facet"]) == {"paper: time"}
    assert "other: apples: scale" in rows["facet"]
    info = RunInfo.model_validate_json((folder / "run.json").read_text())
    assert info.complete
    claims = {claim.id: claim for claim in claims_of(folder)}
    claim = claims["vector-self-report"]
    assert claim.measure.startswith("myopic-trained minus far-sighted-trained")
    assert claim.measure.endswith("of the myopic answer, nats")
    assert claim.ceiling is not None
    assert [null.name for null in claim.nulls] == [
        "6 pairs of random directions, 95th centile of |contrast|",
        "shuffled training, opposite twins",
    ]


def test_everything_can_be_asked_in_a_notebook(tiny: Tiny) -> None:
    task = persona(PersonaConfig(form="raw", situations=12, probes=2)).test[0]
    scores = evaluate(tiny.model, task, {"base": None})
    assert set(scores.rows["part"]) == {"probes", "in_context", "paper"}
