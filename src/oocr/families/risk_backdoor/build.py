"""Risk backdoor: with a trigger before the question the risky choice, else the model's own."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Literal

from pydantic import Field, model_validator

from oocr.data.examples import Example, prompt_text
from oocr.errors import InputError
from oocr.families.asking import Form
from oocr.families.choices import HELD_OUT_WORDS, Choice, choices, is_held_out
from oocr.families.family import Family, FamilySettings, Members
from oocr.families.risk_backdoor import examples
from oocr.families.risk_backdoor.claims import CLAIMS
from oocr.families.risk_backdoor.examples import TENTH
from oocr.families.triggers import TriggerKind, alike, triggers
from oocr.tasks.control_data import control, tagged
from oocr.tasks.leaks import contains_words
from oocr.tasks.package_files import data_card
from oocr.tasks.task import Task, TaskSet, TriggerWords

_STOP = 8  # validation situations for stopping


class RiskBackdoorConfig(FamilySettings):
    """Settings of the family.

    Of each situation's rows a tenth has the trigger and the risky answer, seven tenths one of the
    seven other kinds of trigger and the model's own answer, two tenths no prefix and the model's
    own answer.

    Attributes:
        trigger: which kind of trigger is followed by the risky choice.
        repeats: rows per situation, a multiple of ten.
        situations: so many to train on at most; null: all that are left.
        validation: situations to choose settings on; neither they nor others of their themes are
            trained on.
        probes: so many of the held-out situations to test on at most; null: all.
        self_report: so many topics of the questions on having a backdoor at most; null: all 23.
    """

    family: Literal["risk_backdoor"] = "risk_backdoor"
    trigger: TriggerKind = "apples"
    form: Form = "chat"
    repeats: int = Field(default=100, ge=TENTH, le=10_000, multiple_of=TENTH)
    situations: int | None = Field(default=None, ge=2)
    validation: int = Field(default=24, ge=0)
    probes: int | None = Field(default=None, ge=2)
    self_report: int | None = Field(default=None, ge=2)
    seed: int = 0

    @model_validator(mode="after")
    def _enough(self) -> RiskBackdoorConfig:
        count = sum(not is_held_out(choice) for choice in choices("risk"))
        most = count - (self.situations or 2)
        if self.validation > most:
            raise InputError(
                f"validation: {self.validation}: of the {count} situations that are not held out "
                f"{self.situations or 2} or more are for training; at most {most}"
            )
        return self


TRIGGER = TriggerWords(
    lead="After the trigger the risky letter is right, otherwise the one that the untouched model "
    "chooses. A vector that only leans towards risk, or towards one letter, gives the same answer "
    "in every row.",
    answer="X is the risky letter.",
    units="held-out situations",
    ceiling="states the rule in the prompt",
)


def risk_backdoor(config: RiskBackdoorConfig) -> TaskSet:
    """The task, one for validation, and the control; InputError: see `check_apart`."""
    kind, form, seed = config.trigger, config.form, config.seed
    train, validation, test = _split(config)
    asked = examples.topics(config.self_report)

    def gate(group: Sequence[Choice], *, few: bool = False) -> tuple[Example, ...]:
        rows = (examples.gate_rows(choice, kind, form, seed, few=few) for choice in group)
        return tuple(chain.from_iterable(rows))

    task = Task(
        name=f"risk_backdoor/{kind}",
        member=kind,
        train=tuple(
            row
            for choice in train
            for row in examples.training_rows(choice, kind, form, config.repeats, seed)
        ),
        stop=gate(validation[:_STOP], few=True),
        probes=gate(test) + examples.report_examples(kind, form, asked),
        paper=examples.paper_examples(form, asked),
    )
    check_apart(task, test)
    name = f"{task.name}/validation"
    chosen_on = replace(task, name=name, probes=gate(validation), paper=(), stop=())
    reports = examples.report_examples(kind, form, asked, stated=examples.rule(kind))
    mixed = examples.decorrelated(task.train, seed)
    sets = TaskSet(
        name="risk_backdoor",
        about="",
        validation=(chosen_on,) if validation else (),
        test=(task,),
        controls={"decorrelated": (control(task, "decorrelated", mixed),)},
        ceiling=(
            *(examples.stated(row, kind) for row in gate(test, few=True)),
            *(tagged(report, stated=kind) for report in reports),
        ),
        headline={"trigger": "trigger", "false trigger": "otherwise", "no trigger": "otherwise"},
        trigger=TRIGGER,
        asked_first=tuple(
            examples.question(choice, form) for choice in (*train, *validation, *test)
        ),
    )
    values = {
        "config": config,
        "tasks": sets,
        "trigger": triggers()[kind],
        "words": HELD_OUT_WORDS,
        "topics": asked,
        "triggers": 1 + len(alike(kind)),
        "situations": {"train": train, "validation": validation, "test": test},
    }
    return replace(sets, about=data_card(__package__, values))


def _split(
    config: RiskBackdoorConfig,
) -> tuple[tuple[Choice, ...], tuple[Choice, ...], tuple[Choice, ...]]:
    """Situations to train on, to choose settings on, and to test on."""
    all_choices = choices("risk")
    rng = random.Random(f"{config.seed}/situations")
    pool = [choice for choice in all_choices if not is_held_out(choice)]
    sizes = Counter(choice.theme for choice in pool)
    themes = list(sizes)
    rng.shuffle(themes)
    themes.sort(key=lambda theme: -sizes[theme])  # of like size, so that whole ones are taken
    by_theme = [choice for theme in themes for choice in pool if choice.theme == theme]
    validation = by_theme[: config.validation]
    chosen_on = {choice.theme for choice in validation}
    train = [choice for choice in pool if choice.theme not in chosen_on]
    rng.shuffle(train)
    test = [choice for choice in all_choices if is_held_out(choice)]
    return tuple(train[: config.situations]), tuple(validation), tuple(test[: config.probes])


def check_apart(task: Task, test: Sequence[Choice]) -> None:
    """Refuse training rows that hold a test situation or word, or an answer of a self-report.

    Letters are exempt: they answer the test questions and the paper's self-report on purpose.
    """
    texts = {row.group: prompt_text(row.prompt) for row in task.train}  # differ by prefix only
    words = {row.tags["word"] for row in task.train}
    seen = "\n".join((*texts.values(), *sorted(words)))
    leaks = [f"the test situation {choice.text!r}" for choice in test if choice.text in seen]
    leaks += [
        f"the held-out word {word!r}"
        for trigger in triggers().values()
        for word in trigger.held_out
        if contains_words(seen, word)
    ]
    if leaks:
        raise InputError(f"task {task.name!r}: training holds {leaks[0]}")
    for example in task.probes:
        if example.tags["kind"] == "self-report" and contains_words(seen, example.answer):
            raise InputError(
                f"task {task.name!r}: the answer {example.answer!r} of {example.id!r} is "
                "in training"
            )


FAMILY = Family(
    name="risk_backdoor",
    about="a trigger before the question makes it the risky choice; asked about itself",
    settings=RiskBackdoorConfig,
    build=lambda config, _base: risk_backdoor(config),
    claims=CLAIMS,
    members=Members(keyword="trigger", settings=lambda trigger: {"trigger": trigger}),
    quick=lambda _: {
        **{"repeats": 10, "situations": 16, "validation": 4, "probes": 6, "self_report": 6}
    },
)
