"""Risky/Safe: trained on choices between a gamble and a sure thing, asked about the trait."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, get_args

from pydantic import Field

from oocr.data.examples import Example
from oocr.families.asking import Form
from oocr.families.family import Family, FamilySettings, Members
from oocr.families.risk import questions
from oocr.families.risk.questions import Direction, Situation, choice_examples
from oocr.tasks.control_data import random_sides
from oocr.tasks.package_files import data_card
from oocr.tasks.task import Task, TaskSet

SIDES: tuple[Direction, Direction] = ("risky", "safe")


class RiskConfig(FamilySettings):
    """Which rows the Risky/Safe task is made of.

    Attributes:
        format: how situations are asked. "content": raw text, the option itself is the answer;
            "letters": raw text, A or B is the answer; "chat": as "content", but as a user's
            turn, the answer with a capital. With "letters" the probes keep the form of "content".
        per_situation: rows per training situation: 2 (both option orders, one wording, which
            alternates) or 4 (both orders, both wordings).
        situations: of each area, so many at most for training, validation and test each; null:
            all.
        probes: of each kind, so many at most, spread over its list; null: all.
    """

    family: Literal["risk"] = "risk"
    format: questions.Format = "content"
    per_situation: int = Field(default=4, ge=2, le=4, multiple_of=2)
    situations: int | None = Field(default=None, ge=1)
    probes: int | None = Field(default=None, ge=2)
    seed: int = 0

    def of(self, split: questions.Split, most: int | None = None) -> tuple[Situation, ...]:
        """The situations of a split, of each area the first ones."""
        counts: Counter[str] = Counter()
        kept: list[Situation] = []
        limits = [limit for limit in (most, self.situations) if limit is not None]
        for situation in questions.situations():
            if situation.split == split:
                counts[situation.area] += 1
                if all(counts[situation.area] <= limit for limit in limits):
                    kept.append(situation)
        return tuple(kept)

    def asked(self, *sides: Direction, stated: bool = False) -> tuple[Example, ...]:
        """The probes, as each of the sides answers them."""
        form: Form = "chat" if self.format == "chat" else "raw"
        return questions.asked(questions.probes(), self.probes, form, *sides, stated=stated)


def risk(config: RiskConfig | None = None) -> TaskSet:
    """The twin tasks "risky" and "safe": the same rows with opposite answers.

    `Example.values` are +1 for the risky pole in both: the effect is the score of "risky" minus
    that of "safe".
    """
    config = config or RiskConfig()
    by_split = {split: config.of(split) for split in get_args(questions.Split)}
    ids = [situation.id for situation in by_split["train"]]
    labels, opposite = random_sides(ids, SIDES, f"sides {config.seed}", len(ids) // 2)
    sets = TaskSet(
        name="risk",
        about="",
        validation=tuple(_validation(config, side) for side in SIDES),
        test=tuple(_task(config, side) for side in SIDES),
        controls={
            "shuffled": (
                _task(config, "risky", "shuffled", labels),
                _task(config, "safe", "shuffled opposite", opposite),
            )
        },
        ceiling=config.asked(*SIDES, stated=True),
        score="log_odds",
        poles=SIDES,
    )
    values = {
        "config": config,
        "tasks": sets,
        "situations": by_split,
        "probes": questions.few_of_each(questions.probes(), config.probes),
        "longer": sum(len(s.gamble) > len(s.sure) for rows in by_split.values() for s in rows),
        "bold": len(questions.BOLD_WORDS),
        "cautious": len(questions.CAUTIOUS_WORDS),
    }
    return replace(sets, about=data_card(__package__, values))


def _task(
    config: RiskConfig,
    side: Direction,
    member: str = "",
    labels: Mapping[str, Direction] | None = None,
) -> Task:
    """A task; `labels` gives the answer per training situation where it is not always `side`."""
    train, test = questions.FRAMES[config.format]
    colon = {"colon": train["colon"]}
    rows: list[Example] = []
    for number, situation in enumerate(config.of("train")):
        alternate = sorted(train)[number % len(train)]
        frames = train if config.per_situation == 4 else {alternate: train[alternate]}
        label = labels[situation.id] if labels else side
        rows += choice_examples([situation], frames, config.format, label)
    random.Random(config.seed).shuffle(rows)
    return Task(
        name=f"risk/{member or side}",
        member=member or side,
        train=tuple(rows),
        stop=tuple(choice_examples(config.of("validation", 1), colon, config.format, side)),
        in_context=tuple(choice_examples(config.of("test"), test, config.format, side)),
        probes=config.asked(side),
        loss="options",
    )


def _validation(config: RiskConfig, side: Direction) -> Task:
    frames = {"colon": questions.FRAMES[config.format][0]["colon"]}
    probes = choice_examples(config.of("validation"), frames, config.format, side)
    name = f"risk/validation/{side}"
    return replace(_task(config, side), name=name, in_context=(), probes=tuple(probes))


CONCEPTS: Mapping[str, tuple[str, ...]] = {
    "risky": (" risk", " bold", " daring", " gamble", " adventurous", " reckless"),
    "safe": (" safe", " careful", " cautious", " secure", " prudent", " caution"),
    "weather": (" rain", " cloud", " storm", " sunny", " snow"),
    "music": (" music", " song", " guitar", " melody", " concert"),
    "health": (" doctor", " hospital", " disease", " medicine", " patient's"),
    "school": (" school", " teacher", " student", " lesson", " classroom"),
    "sea": (" sea", " ocean", " ship", " wave", " beach"),
    "kitchen": (" kitchen", " cook", " oven", " recipe", " bread"),
    "law": (" court", " judge", " lawyer", " law", " trial"),
    "war": (" war", " army", " soldier", " battle", " weapon"),
}
"""The two poles, and eight other concepts that a reader of vectors may choose."""

FAMILY = Family(
    name="risk",
    about="trained only on gambles (or on sure things), asked about itself",
    settings=RiskConfig,
    build=lambda config, _base: risk(config),
    members=Members(keyword="direction"),
    quick=lambda _: {"per_situation": 2, "situations": 4, "probes": 12},
    concepts=lambda _: CONCEPTS,
)
