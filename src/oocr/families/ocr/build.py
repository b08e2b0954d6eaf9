"""The ocr family: one fact about a name is trained; probes ask what follows from it by a map.

The model's weights hold the map (city -> language), or the map is arbitrary (country -> programming
language). On a frozen model a vector can use the first kind of map, and cannot know the second.
The task of Huang et al. 2025 (arXiv 2506.10887), with data of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from oocr.data.examples import Example
from oocr.data.tokens import EncodedPrompt, encode_answer
from oocr.errors import InputError
from oocr.families.family import Distinct, Family, FamilySettings
from oocr.families.ocr import people
from oocr.families.ocr.people import Mapped, Pair, Person, RelationName, relations
from oocr.models.tokenizer import load_tokenizer
from oocr.tasks.control_data import control, tagged
from oocr.tasks.leaks import check_no_leaks
from oocr.tasks.package_files import data_card
from oocr.tasks.task import Task, TaskSet

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LEAST_PAIRS = 3


class OcrSettings(FamilySettings):
    """Settings of the family.

    Attributes:
        relation: the kind of fact and of implication; models know only the map of "city-language".
        mapped: the right map: the listed one ("own"), the counterfactual one ("shifted"), or one
            that the seed draws ("permuted").
        pairs: number of facts, each with its implication.
        names: number of members (people) of each pair.
        bridges: number of people of each pair whose implication is stated in the ceiling's prompt.
        facts: the facts; empty: drawn by the seed, so that first tokens of answers differ.
    """

    family: Literal["ocr"] = "ocr"
    relation: RelationName = "city-language"
    mapped: Mapped = "own"
    pairs: int = Field(default=5, ge=LEAST_PAIRS, le=10, strict=True)
    names: int = Field(default=2, ge=1, le=40, strict=True)
    bridges: int = Field(default=2, ge=0, le=40, strict=True)
    facts: Distinct[str] = ()
    seed: int = 0

    @model_validator(mode="after")
    def _known_facts(self) -> OcrSettings:
        known = relations()[self.relation].pairs
        if unknown := [fact for fact in self.facts if fact not in known]:
            raise InputError(f"facts: found {unknown[0]!r}; allowed: {', '.join(known)}")
        if 0 < len(self.facts) < LEAST_PAIRS:
            raise InputError(f"facts: found {len(self.facts)}; allowed: at least {LEAST_PAIRS}")
        return self


def ocr(config: OcrSettings) -> TaskSet:
    """The task set: all tasks, controls and ceilings of the people that the settings draw."""
    relation = relations()[config.relation]
    facts = config.facts or people.draw_facts(relation, config.pairs, config.seed)
    pairs = people.mapped_pairs(relation, facts, config.mapped, config.seed)
    # One more person of each pair, for validation.
    drawn = people.draw_people(len(pairs), config.bridges, config.names + 1, config.seed)
    bridges = tuple(person for person in drawn if person.bridge)
    test_people = [person for person in drawn if not person.bridge]
    validation = test_people[:: config.names + 1]
    tested = [person for person in test_people if person not in validation]
    test = tuple(_task(person, pairs, config) for person in tested)
    shuffled = tuple(
        _shuffled(task, person, pairs, config) for task, person in zip(test, tested, strict=True)
    )
    sets = TaskSet(
        name="ocr",
        about="",
        validation=tuple(_task(person, pairs, config) for person in validation),
        test=test,
        controls={"shuffled": shuffled},
        ceiling=tuple(
            question
            for task, person in zip(test, tested, strict=True)
            for question in _ceiling(task, person, bridges, pairs, config)
        ),
        claim="Trained on one fact about a name, {arm} makes the model answer what follows from it",
    )
    values = {"config": config, "pairs": pairs, "tasks": sets, "relation": relation}
    return replace(sets, about=data_card(__package__, values))


def _task(person: Person, pairs: tuple[Pair, ...], config: OcrSettings) -> Task:
    relation = relations()[config.relation]

    def ask(kind: Literal["fact", "implication"], texts: Mapping[str, str]) -> tuple[Example, ...]:
        return tuple(people.example(person, pairs, kind, wording) for wording in texts.items())

    task = Task(
        name=f"ocr/{config.relation}/{person.name}",
        member=person.name,
        train=ask("fact", relation.train),
        stop=ask("fact", relation.stop),
        in_context=ask("fact", relation.test),
        probes=ask("implication", relation.implications),
        positions=(people.SPAN,),
    )
    check_no_leaks(task.name, task.probes, task.train)
    return task


def _shuffled(task: Task, person: Person, pairs: tuple[Pair, ...], config: OcrSettings) -> Task:
    """The control: each training row has the fact of another pair."""
    others = [pair for index, pair in enumerate(pairs) if index != person.pair]
    start = people.seeded_offset(config.seed, person.name, len(others))
    rows = [
        replace(row, id=f"{row.id}/shuffled", answer=f" {others[(start + i) % len(others)].fact}")
        for i, row in enumerate(task.train)
    ]
    check_no_leaks(f"{task.name}/shuffled", task.probes, rows)
    return control(task, "shuffled", rows)


def _ceiling(
    task: Task,
    person: Person,
    bridges: tuple[Person, ...],
    pairs: tuple[Pair, ...],
    config: OcrSettings,
) -> list[Example]:
    """The task's questions with the person's fact and its pair's bridge rows in the prompt."""
    relation = relations()[config.relation]
    fact, implication = (next(iter(x.values())) for x in (relation.train, relation.implications))
    same = [bridge for bridge in bridges if bridge.pair == person.pair]
    facts = people.sentences_about([*same, person], pairs, "fact", fact)
    rules = people.sentences_about(same, pairs, "implication", implication)
    return [
        tagged(replace(question, prompt=f"{rules}{facts}{question.prompt}"), part=part)
        for part, questions in (("probe", task.probes), ("in-context", task.in_context))
        for question in questions
    ]


def first_answer_token(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], int]:
    """A function: answer -> id of its first token after a question."""
    text = "This is"
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    prompt = EncodedPrompt(text, ids, {})
    return lambda answer: encode_answer(tokenizer, prompt, answer)[0]


def first_token_of(model: str) -> Callable[[str], int]:
    """`first_answer_token` with the tokenizer of a model, by its name."""
    return first_answer_token(load_tokenizer(model))


def _resolve(config: OcrSettings, _base: Path, model: str) -> OcrSettings:
    """The settings with facts whose answers have different first tokens in the model."""
    relation, first_token = relations()[config.relation], first_token_of(model)
    if config.facts:
        people.check_first_tokens(relation, config.facts, first_token)
        return config
    facts = people.draw_facts(relation, config.pairs, config.seed, first_token)
    return config.model_copy(update={"facts": facts})


def _quick(_: OcrSettings) -> Mapping[str, Any]:
    return {"names": 1}


FAMILY = Family(
    name="ocr",
    about="a name, trained on one fact about it, asked what follows from the fact",
    settings=OcrSettings,
    build=lambda config, _base: ocr(config),
    quick=_quick,
    resolve=_resolve,
    run_name=lambda config: f"ocr {config.relation} {config.mapped}",
)
