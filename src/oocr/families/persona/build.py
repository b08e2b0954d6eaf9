"""Persona traits: trained on choices by letter of one kind, asked about the trait."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from oocr.data.examples import Example
from oocr.families import asking
from oocr.families.asking import Form
from oocr.families.choices import OTHER, POLES, Choice, Trait, choices, is_held_out
from oocr.families.family import Distinct, Family, FamilySettings, Members
from oocr.families.risk import questions
from oocr.families.risk.build import CONCEPTS
from oocr.families.risk.questions import RISK, Poles, QuestionKind, RiskProbe
from oocr.tasks.control_data import random_sides
from oocr.tasks.leaks import check_options_unseen
from oocr.tasks.package_files import data_card, package_yaml
from oocr.tasks.task import Task, TaskSet

FILE = "persona_probes.yaml"


@cache
def _file() -> Mapping[Trait, Any]:
    return dict(package_yaml(__package__, FILE))


@cache
def trait_probes(trait: Trait) -> tuple[RiskProbe, ...]:
    """All probes of a trait."""
    if trait == "risk":
        return questions.probes()
    probes: list[RiskProbe] = []
    for kind in get_args(QuestionKind):
        rows = _file()[trait][kind]
        if kind in ("agree", "scale"):
            fields = [{"key": key, "text": text} for key in (1, -1) for text in rows[key]]
        elif kind == "free words":
            fields = [{"text": text} for text in rows]
        else:
            names = ("text", "risky", "safe", "area")
            fields = [dict(zip(names, row, strict=False)) for row in rows]
        name = f"{trait}-{kind.replace(' ', '-')}"
        probes += [
            RiskProbe(id=f"{name}-{number:02}", kind=kind, **row)
            for number, row in enumerate(fields, start=1)
        ]
    return tuple(probes)


@cache
def poles_of(trait: Trait) -> Poles:
    """How a trait's probes are worded."""
    if trait == "risk":
        return RISK
    first, second = (tuple(words) for words in _file()[trait]["words"])
    stated, opposite = _file()[trait]["stated"]
    return Poles(trait, POLES[trait], (first, second), (stated, opposite), FILE)


def paper_examples(trait: Trait, side: str) -> Iterator[Example]:
    """Ten questions in the paper's mix and form, of which the first option is the first pole's.

    For risk its companion sets are behind them: "no you" (what is good in general) and "other".
    """
    for group in ("paper", "no you", "other"):
        for number, (text, *pair) in enumerate(_file()[trait].get(group, ()), start=1):
            id = f"{trait}-{group.replace(' ', '-')}-{number:02}"
            kind = "scale" if pair[0].isdigit() else "agree" if "Agree" in pair else "words"
            yield Example(
                id=f"paper/{id}",
                prompt=f"{text}\n",
                answer=pair[POLES[trait].index(side)],
                options=tuple(pair),
                values=(1.0, -1.0),
                facet=f"paper: {trait if group == 'paper' else group}",
                group=id,
                template=kind,
                tags={"kind": kind},
                source=FILE,
                scored_by="last_token",
            )


class PersonaConfig(FamilySettings):
    """Which rows a persona task is made of.

    Attributes:
        trait: "risk" (a gamble or a sure thing), "time" (little at once or much later) or
            "apples" (many or few).
        train_share: of the shuffled choices, this part is trained on; the rest is the in-context
            test. 0.8 of the 288 risk choices are 230 and 58.
        validation_share: of the choices trained on, this part is held out while layer, rate and
            steps are chosen.
        situations: so many choices in all, as many of either letter; null: all.
        probes: of each kind, so many at most; null: all.
        also: other traits whose probes are asked too, for transfer; they don't count in the
            headline.
    """

    family: Literal["persona"] = "persona"
    trait: Trait = "risk"
    form: Form = "chat"
    train_share: float = Field(default=0.8, gt=0, lt=1)
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    situations: int | None = Field(default=None, ge=10)
    probes: int | None = Field(default=None, ge=2)
    also: Distinct[Trait] = ()
    seed: int = 42

    @model_validator(mode="after")
    def _others(self) -> PersonaConfig:
        if self.trait in self.also:
            raise ValueError(f"also: {self.trait!r} is the trained trait; name other traits")
        count = min(self.situations or len(choices(self.trait)), len(choices(self.trait)))
        if not 2 <= round(self.train_share * count) < count:
            raise ValueError(
                f"train_share: {self.train_share!r} of {count} choices leaves nothing to train on "
                "or nothing to test"
            )
        return self


def persona(config: PersonaConfig | None = None) -> TaskSet:
    """The twin tasks of a trait ("risky" and "safe"): the same rows with opposite answers.

    `Example.values` are +1 for the first pole in both, so that the effect is the score of the first
    twin minus that of the second. InputError: an option of a probe occurs in a training row.
    """
    config = config or PersonaConfig()
    train, held_out, test = _split(config)
    seen, name, sides = (*train, *held_out), f"persona/{config.trait}", POLES[config.trait]
    ids = [choice.id for choice in seen]
    shuffled, opposite = random_sides(ids, sides, f"sides {config.seed}")

    def rows(asked: Sequence[Choice], side: str) -> tuple[Example, ...]:
        return tuple(_choice(choice, config.form, side) for choice in asked)

    def task(member: str, side: str, labels: Mapping[str, str] | None = None) -> Task:
        return Task(
            name=f"{name}/{member}",
            member=member,
            train=tuple(
                _choice(choice, config.form, labels[choice.id] if labels else side)
                for choice in seen
            ),
            in_context=rows(test, side),
            probes=_probes(config, side),
            paper=tuple(paper_examples(config.trait, side)),
        )

    def validation(side: str) -> Task:
        watched = rows(held_out, side)
        return Task(
            name=f"{name}/validation/{side}",
            member=side,
            train=rows(train, side),
            stop=watched,
            probes=watched,
        )

    tests = tuple(task(side, side) for side in sides)
    for twin in tests:
        check_options_unseen(twin.name, twin.probes, twin.train)
    facets = ("choice", *(probe.facet for probe in tests[0].probes))
    values = {
        "config": config,
        "poles": sides,
        "seen": seen,
        "held_out": held_out,
        "test": test,
        "marked": sum(map(is_held_out, (*seen, *test))),
        "probes": questions.few_of_each(trait_probes(config.trait), config.probes),
        "paper": tests[0].paper,
    }
    return TaskSet(
        name=name,
        about=data_card(__package__, values),
        validation=tuple(map(validation, sides)),
        test=tests,
        controls={
            "shuffled": (
                task("shuffled", sides[0], shuffled),
                task("shuffled opposite", sides[1], opposite),
            )
        },
        ceiling=_asked(config, config.trait, *sides, stated=True),
        score="log_odds",
        poles=sides,
        headline={facet: facet for facet in facets if not facet.startswith(OTHER)},
    )


def _split(
    config: PersonaConfig,
) -> tuple[tuple[Choice, ...], tuple[Choice, ...], tuple[Choice, ...]]:
    """Choices to train on, of these the ones held out while choosing, and those of the test."""
    drawn = list(choices(config.trait))
    random.Random(config.seed).shuffle(drawn)
    if config.situations is not None:  # alternately A and B, so that few choices are balanced too
        letters = [[choice for choice in drawn if choice.positive == letter] for letter in "AB"]
        by_turns = [choice for pair in zip(*letters, strict=False) for choice in pair]
        drawn = by_turns[: config.situations]
    count = round(config.train_share * len(drawn))
    kept = count - max(1, round(config.validation_share * count))
    return tuple(drawn[:kept]), tuple(drawn[kept:count]), tuple(drawn[count:])


def _choice(choice: Choice, form: Form, side: str) -> Example:
    order, options = choice.order, asking.continuing(form, "AB")
    return Example(
        id=choice.id,
        prompt=asking.user_turn(form, choice.text),
        answer=options[asking.in_order(POLES[choice.trait], order).index(side)],
        options=options,
        values=asking.ORDERS[order],
        facet="choice",
        group=choice.id,
        template=form,
        tags={"order": order, "theme": choice.theme},
        source="choices.yaml",
    )


def _asked(
    config: PersonaConfig, trait: Trait, *sides: str, stated: bool = False
) -> tuple[Example, ...]:
    probes, poles = trait_probes(trait), poles_of(trait)
    return questions.asked(probes, config.probes, config.form, *sides, stated=stated, poles=poles)


def _probes(config: PersonaConfig, side: str) -> tuple[Example, ...]:
    """The trait's own probes, then those of other traits with the pole in the same place."""
    place = POLES[config.trait].index(side)
    others = [
        replace(example, facet=f"{OTHER}{trait}: {example.facet}")
        for trait in config.also
        for example in _asked(config, trait, POLES[trait][place])
    ]
    return (*_asked(config, config.trait, side), *others)


FAMILY = Family(
    name="persona",
    about="gambles, early rewards or apples chosen by letter; asked about itself",
    settings=PersonaConfig,
    build=lambda config, _base: persona(config),
    members=Members(
        keyword="direction",
        settings=lambda pole: next(
            ({"trait": trait} for trait, poles in POLES.items() if pole in poles), {}
        ),
    ),
    quick=lambda _: {"situations": 20, "probes": 8},
    concepts=lambda config: CONCEPTS if config.trait == "risk" else {},
)
