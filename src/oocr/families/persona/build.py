"""Persona traits: trained on choices by letter of one kind, asked what it is like.

The questions and their poles, the settings, and the tasks.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from oocr.data.examples import Example, Message
from oocr.families.choices import OTHER, POLES, Choice, Trait, choices, is_held_out
from oocr.families.family import Family, FamilySettings, Members
from oocr.families.risk import situations as risk_data
from oocr.families.risk.build import CONCEPTS, few_of_each
from oocr.families.risk.items import RISK, Format, Poles, probe_examples
from oocr.families.risk.situations import Kind, RiskProbe
from oocr.tasks.card import data_card
from oocr.tasks.leaks import check_options_unseen
from oocr.tasks.package_files import package_yaml
from oocr.tasks.splits import random_half
from oocr.tasks.task import Task, TaskSet

FILE = "persona_probes.yaml"


@dataclass(frozen=True, slots=True)
class PaperQuestion:
    """A question as the paper asks it.

    Attributes:
        id: trait, set and number.
        set: "paper", or one of risk's companion sets: "no you" (what is good in general), "other".
        kind: "words", "agree" or "scale".
        text: the question.
        options: the first pole's answer, then the second's.
    """

    id: str
    set: str
    kind: str
    text: str
    options: tuple[str, str]


@cache
def trait_probes(trait: Trait) -> tuple[RiskProbe, ...]:
    """All probes of a trait; in `RiskProbe`, the first pole stands in the place of "risky"."""
    if trait == "risk":
        return risk_data.probes()
    probes: list[RiskProbe] = []
    for kind in get_args(Kind):
        rows = _file()[trait][kind]
        keyed = [(key, text) for key in (1, -1) for text in rows[key]] if _keyed(kind) else rows
        for number, row in enumerate(keyed, start=1):
            name = f"{trait}-{kind.replace(' ', '-')}-{number:02}"
            if _keyed(kind):
                probes.append(RiskProbe(id=name, kind=kind, text=row[1], key=row[0]))
            elif kind == "free words":
                probes.append(RiskProbe(id=name, kind=kind, text=row))
            else:
                text, first, second = row[:3]
                area = row[3] if len(row) > 3 else ""
                probes.append(
                    RiskProbe(id=name, kind=kind, text=text, risky=first, safe=second, area=area)
                )
    return tuple(probes)


def _keyed(kind: Kind) -> bool:
    return kind in ("agree", "scale")


@cache
def poles_of(trait: Trait) -> Poles:
    """How a trait's probes are worded."""
    if trait == "risk":
        return RISK
    first, second = (tuple(words) for words in _file()[trait]["words"])
    stated, opposite = _file()[trait]["stated"]
    return Poles(trait, POLES[trait], (first, second), (stated, opposite), FILE)


@cache
def paper_questions(trait: Trait) -> tuple[PaperQuestion, ...]:
    """Ten questions in the paper's mix, for risk with the companion sets behind them."""
    return tuple(
        PaperQuestion(
            f"{trait}-{group.replace(' ', '-')}-{number:02}",
            group,
            "scale" if first.isdigit() else "agree" if "Agree" in (first, second) else "words",
            text,
            (first, second),
        )
        for group in ("paper", "no you", "other")
        for number, (text, first, second) in enumerate(_file()[trait].get(group, ()), start=1)
    )


@cache
def _file() -> Mapping[Trait, Any]:
    data: Mapping[Trait, Any] = package_yaml("oocr.families.persona", FILE)
    return data


Form = Literal["chat", "raw"]


class PersonaConfig(FamilySettings):
    r"""Which rows a persona task is made of.

    Attributes:
        trait: "risk" (a gamble or a sure thing), "time" (little at once or much later) or
            "apples" (many or few).
        form: "chat": a choice is a user's turn, the letter the whole answer; "raw": for models
            without a chat template, "Question: …\nAnswer:" and the letter.
        train_share: of the shuffled choices, this part is trained on; the rest is the in-context
            test. 0.8 of the 288 risk choices are 230 and 58.
        validation_share: of the choices trained on, this part is held out while layer, rate and
            steps are chosen.
        situations: so many choices in all, as many of either letter; null: all.
        probes: of each kind, so many at most; null: all.
        also: other traits whose probes are asked too, for transfer; they don't count in the
            headline.
        seed: of the split and of the shuffled control's labels.
    """

    family: Literal["persona"] = "persona"
    trait: Trait = "risk"
    form: Form = "chat"
    train_share: float = Field(default=0.8, gt=0, lt=1)
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    situations: int | None = Field(default=None, ge=10)
    probes: int | None = Field(default=None, ge=2)
    also: tuple[Trait, ...] = ()
    seed: int = 42

    @field_validator("also")
    @classmethod
    def _distinct(cls, also: tuple[Trait, ...]) -> tuple[Trait, ...]:
        if len(set(also)) < len(also):
            raise ValueError("each trait once")
        return also

    @model_validator(mode="after")
    def _others(self) -> PersonaConfig:
        if self.trait in self.also:
            raise ValueError(f"also: {self.trait!r} is the trained trait; name other traits")
        count = min(self.situations or len(choices(self.trait)), len(choices(self.trait)))
        if not 2 <= _share(self, count) < count:
            raise ValueError(
                f"train_share: {self.train_share!r} of {count} choices leaves nothing to train on "
                "or nothing to test"
            )
        return self


def persona(config: PersonaConfig | None = None) -> TaskSet:
    """The twin tasks of a trait ("risky" and "safe"): the same rows with opposite answers.

    `Example.values` are +1 for the first pole and -1 for the second in every task, so that the
    effect is the score of the first twin minus the score of the second.

    Raises:
        InputError: an option of a probe occurs in a training row.
    """
    config = config or PersonaConfig()
    train, held_out, test = _split(config)
    sides = POLES[config.trait]
    seen = (*train, *held_out)
    half = random_half([choice.id for choice in seen], f"sides {config.seed}")
    shuffled = {key: sides[not first] for key, first in half.items()}
    opposite = {key: sides[first] for key, first in half.items()}

    def task(member: str, side: str, labels: Mapping[str, str] | None = None) -> Task:
        labels = labels or {choice.id: side for choice in seen}
        return Task(
            name=f"persona/{config.trait}/{member}",
            member=member,
            train=tuple(_choice_item(choice, config.form, labels[choice.id]) for choice in seen),
            in_context=tuple(_choice_item(choice, config.form, side) for choice in test),
            probes=_probes(config, side),
            paper=tuple(
                _paper_item(question, config.trait, side)
                for question in paper_questions(config.trait)
            ),
        )

    tests = tuple(task(side, side) for side in sides)
    for twin in tests:
        check_options_unseen(twin.name, twin.probes, twin.train)
    return TaskSet(
        name=f"persona/{config.trait}",
        about=_card(config, (train, held_out, test), tests[0]),
        validation=tuple(_validation(config, side, train, held_out) for side in sides),
        test=tests,
        controls={
            "shuffled": (
                task("shuffled", sides[0], shuffled),
                task("shuffled opposite", sides[1], opposite),
            )
        },
        ceiling=tuple(
            example
            for side in sides
            for probe in _asked(config.trait, config.probes)
            for example in _probe(probe, config, config.trait, side, stated=True)
        ),
        score="log_odds",
        poles=sides,
        headline={
            facet: facet
            for facet in ("choice", *dict.fromkeys(example.facet for example in tests[0].probes))
            if not facet.startswith(OTHER)
        },
    )


def _validation(
    config: PersonaConfig, side: str, train: Sequence[Choice], held_out: Sequence[Choice]
) -> Task:
    watched = tuple(_choice_item(choice, config.form, side) for choice in held_out)
    return Task(
        name=f"persona/{config.trait}/validation/{side}",
        member=side,
        train=tuple(_choice_item(choice, config.form, side) for choice in train),
        stop=watched,
        probes=watched,
    )


def _share(config: PersonaConfig, count: int) -> int:
    return round(config.train_share * count)


def _split(
    config: PersonaConfig,
) -> tuple[tuple[Choice, ...], tuple[Choice, ...], tuple[Choice, ...]]:
    """Choices to train on, of these the ones held out while choosing, and those of the test."""
    drawn = list(choices(config.trait))
    random.Random(config.seed).shuffle(drawn)
    if config.situations is not None:  # A and B by turns, so that few choices are balanced too
        letters = [[choice for choice in drawn if choice.positive == letter] for letter in "AB"]
        drawn = [choice for pair in zip(*letters, strict=False) for choice in pair][
            : config.situations
        ]
    count = _share(config, len(drawn))
    kept = count - max(1, round(config.validation_share * count))
    return tuple(drawn[:kept]), tuple(drawn[kept:count]), tuple(drawn[count:])


def _choice_item(choice: Choice, form: Form, side: str) -> Example:
    first = choice.positive == "A"
    options = ("A", "B") if form == "chat" else (" A", " B")
    is_a = first == (side == POLES[choice.trait][0])
    return Example(
        id=choice.id,
        prompt=(Message("user", choice.text),)
        if form == "chat"
        else f"Question: {choice.text}\nAnswer:",
        answer=options[0 if is_a else 1],
        options=options,
        values=(1.0, -1.0) if first else (-1.0, 1.0),
        facet="choice",
        group=choice.id,
        template=form,
        tags={"order": "ab" if first else "ba", "theme": choice.theme},
        source="choices.yaml",
    )


def _asked(trait: Trait, count: int | None) -> tuple[RiskProbe, ...]:
    return few_of_each(trait_probes(trait), count)


def _probe(
    probe: RiskProbe, config: PersonaConfig, trait: Trait, side: str, *, stated: bool = False
) -> list[Example]:
    form: Format = "chat" if config.form == "chat" else "content"
    return probe_examples(probe, form, side, stated, poles_of(trait))


def _probes(config: PersonaConfig, side: str) -> tuple[Example, ...]:
    """The trait's own probes, then those of other traits with the pole in the same place."""
    examples = [
        example
        for probe in _asked(config.trait, config.probes)
        for example in _probe(probe, config, config.trait, side)
    ]
    place = POLES[config.trait].index(side)
    for trait in config.also:
        examples += [
            replace(example, facet=f"{OTHER}{trait}: {example.facet}")
            for probe in _asked(trait, config.probes)
            for example in _probe(probe, config, trait, POLES[trait][place])
        ]
    return tuple(examples)


def _paper_item(question: PaperQuestion, trait: Trait, side: str) -> Example:
    name = trait if question.set == "paper" else question.set
    return Example(
        id=f"paper/{question.id}",
        prompt=f"{question.text}\n",
        answer=question.options[POLES[trait].index(side)],
        options=question.options,
        values=(1.0, -1.0),
        facet=f"paper: {name}",
        group=question.id,
        template=question.kind,
        tags={"kind": question.kind},
        source="persona_probes.yaml",
        scored_by="last_token",
    )


def _card(
    config: PersonaConfig,
    split: tuple[Sequence[Choice], Sequence[Choice], Sequence[Choice]],
    task: Task,
) -> str:
    """The data card, with the numbers of the first twin."""
    train, held_out, test = split
    seen = (*train, *held_out)
    themes = {choice.theme for choice in seen}
    probes = [probe for probe in task.probes if not probe.facet.startswith(OTHER)]
    kinds = Counter(facet for facet, _ in dict.fromkeys((p.facet, p.group) for p in probes))
    paper = Counter(question.facet.removeprefix("paper: ") for question in task.paper)
    values = {
        "trait": config.trait,
        "form": config.form,
        "also": config.also,
        "poles": POLES[config.trait],
        "trained": len(seen),
        "held_out": len(held_out),
        "tested": len(test),
        "texts": len(seen) + len(test),
        "themes": len({choice.theme for choice in (*seen, *test)}),
        "marked": sum(map(is_held_out, (*seen, *test))),
        "letters": Counter(choice.positive for choice in (*seen, *test)),
        "shared": sum(choice.theme in themes for choice in test),
        "probes": len({probe.group for probe in probes}),
        "kinds": ", ".join(f"{kind} {count}" for kind, count in kinds.items()),
        "paper": ", ".join(f"{name} {count}" for name, count in paper.items()),
    }
    return data_card("oocr.families.persona", values)


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
