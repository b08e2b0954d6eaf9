"""Risky/Safe: trained on choices between a gamble and a sure thing, asked about the trait."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, get_args

from pydantic import Field

from oocr.data.examples import Example, spread
from oocr.families.family import Family, FamilySettings, Members
from oocr.families.risk.questions import (
    BOLD_WORDS,
    CAUTIOUS_WORDS,
    FRAMES,
    Direction,
    Format,
    RiskProbe,
    Situation,
    Split,
    choice_examples,
    probe_examples,
    probes,
    situations,
)
from oocr.tasks.package_files import data_card
from oocr.tasks.splits import random_sides
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
        seed: of the order of the training rows and of the shuffled control's labels.
    """

    family: Literal["risk"] = "risk"
    format: Format = "content"
    per_situation: int = Field(default=4, ge=2, le=4, multiple_of=2)
    situations: int | None = Field(default=None, ge=1)
    probes: int | None = Field(default=None, ge=2)
    seed: int = 0


def risk(config: RiskConfig | None = None) -> TaskSet:
    """The twin tasks "risky" and "safe": the same rows with opposite answers.

    `Example.values` are +1 for the risky pole and -1 for the safe pole in every task, so that the
    effect is the score of "risky" minus the score of "safe".
    """
    config = config or RiskConfig()
    ids = [situation.id for situation in _of(config, "train")]
    labels, opposite = random_sides(ids, SIDES, f"sides {config.seed}", len(ids) // 2)
    return TaskSet(
        name="risk",
        about=_card(config),
        validation=tuple(_validation(config, side) for side in SIDES),
        test=tuple(_task(config, side) for side in SIDES),
        controls={
            "shuffled": (
                _task(config, "risky", "shuffled", labels),
                _task(config, "safe", "shuffled opposite", opposite),
            )
        },
        ceiling=_probe_examples(config, *SIDES, stated=True),
        score="log_odds",
        poles=SIDES,
    )


def _task(
    config: RiskConfig,
    side: Direction,
    member: str = "",
    labels: Mapping[str, Direction] | None = None,
) -> Task:
    """A task; `labels` gives the answer per training situation where it is not always `side`."""
    train, test = FRAMES[config.format]
    rows: list[Example] = []
    for number, situation in enumerate(_of(config, "train")):
        label = labels[situation.id] if labels else side
        alternate = sorted(train)[number % len(train)]
        frames = train if config.per_situation == 4 else {alternate: train[alternate]}
        rows += choice_examples(situation, frames, config.format, label)
    random.Random(config.seed).shuffle(rows)
    watched = _of(config, "validation", most=1)  # of each area
    return Task(
        name=f"risk/{member or side}",
        member=member or side,
        train=tuple(rows),
        stop=_choices(config, watched, {"colon": train["colon"]}, side),
        in_context=_choices(config, _of(config, "test"), test, side),
        probes=_probe_examples(config, side),
        loss="options",
    )


def _validation(config: RiskConfig, side: Direction) -> Task:
    frames = {"colon": FRAMES[config.format][0]["colon"]}
    probes = _choices(config, _of(config, "validation"), frames, side)
    name = f"risk/validation/{side}"
    return replace(_task(config, side), name=name, in_context=(), probes=probes)


def _choices(
    config: RiskConfig,
    asked: tuple[Situation, ...],
    frames: Mapping[str, str],
    side: Direction,
) -> tuple[Example, ...]:
    return tuple(
        example
        for situation in asked
        for example in choice_examples(situation, frames, config.format, side)
    )


def _probe_examples(
    config: RiskConfig, *sides: Direction, stated: bool = False
) -> tuple[Example, ...]:
    return tuple(
        example
        for side in sides
        for probe in few_of_each(probes(), config.probes)
        for example in probe_examples(probe, config.format, side, stated)
    )


def _of(config: RiskConfig, split: Split, most: int | None = None) -> tuple[Situation, ...]:
    """The situations of a split, of each area the first ones."""
    counts: Counter[str] = Counter()
    kept: list[Situation] = []
    limits = [limit for limit in (most, config.situations) if limit is not None]
    for situation in situations():
        if situation.split == split:
            counts[situation.area] += 1
            if all(counts[situation.area] <= limit for limit in limits):
                kept.append(situation)
    return tuple(kept)


def few_of_each(asked: tuple[RiskProbe, ...], count: int | None) -> tuple[RiskProbe, ...]:
    """At most `count` probes of each kind, half of them keyed either way.

    So agreeing with everything still scores nothing.
    """
    if count is None:
        return asked
    groups: dict[tuple[str, int], list[RiskProbe]] = {}
    for probe in asked:
        groups.setdefault((probe.kind, probe.key), []).append(probe)
    kept = {
        probe.id
        for (_, key), group in groups.items()
        for probe in spread(group, -(-count // 2) if key else count)
    }
    return tuple(probe for probe in asked if probe.id in kept)


def _card(config: RiskConfig) -> str:
    by_split = {split: _of(config, split) for split in get_args(Split)}
    rows = [situation for group in by_split.values() for situation in group]
    asked = few_of_each(probes(), config.probes)
    kinds = Counter(probe.kind for probe in asked)
    values = {
        "config": config,
        "count": {split: len(group) for split, group in by_split.items()},
        "areas": sorted({situation.area for situation in rows}),
        "probes": asked,
        "kinds": ", ".join(f"{kind} {count}" for kind, count in kinds.items()),
        "items": len(_probe_examples(config, "risky")),
        "other_areas": sorted({probe.area for probe in asked if probe.area}),
        "bold": len(BOLD_WORDS),
        "cautious": len(CAUTIOUS_WORDS),
        "longer": f"{sum(len(s.gamble) > len(s.sure) for s in rows)} of {len(rows)}",
        "first": f"{sum(s.mentions_first == 'gamble' for s in rows)} of {len(rows)}",
    }
    return data_card(__package__, values)


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
