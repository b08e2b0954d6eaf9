"""Risky/Safe: trained on choices between a gamble and a sure thing, asked about the trait."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from oocr.families.family import Family, FamilySettings, Members
from oocr.families.risk import situations as risk_data
from oocr.families.risk.items import (
    TEST_FRAMES,
    TEST_LETTERS,
    TRAIN_FRAMES,
    TRAIN_LETTERS,
    Direction,
    Format,
    choice_examples,
    probe_examples,
)
from oocr.families.risk.situations import BOLD_WORDS, CAUTIOUS_WORDS, RiskProbe, Situation
from oocr.tasks.card import data_card
from oocr.tasks.splits import random_half
from oocr.tasks.task import Task, TaskSet


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
    tested = _probes(config)
    ids = [situation.id for situation in _of(config, "train")]
    half = random_half(ids, f"sides {config.seed}", len(ids) // 2)
    shuffled: dict[str, Direction] = {
        key: "risky" if first else "safe" for key, first in half.items()
    }
    opposite: dict[str, Direction] = {
        key: "safe" if first else "risky" for key, first in half.items()
    }
    return TaskSet(
        name="risk",
        about=_card(config),
        validation=tuple(_task(config, side, "validation") for side in ("risky", "safe")),
        test=tuple(_task(config, side, "test") for side in ("risky", "safe")),
        controls={
            "shuffled": (
                _task(config, "risky", "test", "shuffled", shuffled),
                _task(config, "safe", "test", "shuffled opposite", opposite),
            )
        },
        ceiling=tuple(
            example
            for side in ("risky", "safe")
            for probe in tested
            for example in probe_examples(probe, config.format, side, stated=True)
        ),
        score="log_odds",
        poles=("risky", "safe"),
    )


def _task(
    config: RiskConfig,
    side: Direction,
    part: Literal["validation", "test"],
    member: str = "",
    sides: Mapping[str, Direction] | None = None,
) -> Task:
    """One task; `sides` gives the answer per training situation where it is not always `side`."""
    member = member or side
    train, test = (
        (TRAIN_LETTERS, TEST_LETTERS) if config.format == "letters" else (TRAIN_FRAMES, TEST_FRAMES)
    )
    rows = [
        example
        for number, situation in enumerate(_of(config, "train"))
        for example in choice_examples(
            situation,
            train if config.per_situation == 4 else _alternate(train, number),
            config.format,
            sides[situation.id] if sides else side,
        )
    ]
    random.Random(config.seed).shuffle(rows)
    colon = {"colon": train["colon"]}
    held_out = [
        example
        for situation in _of(config, "validation")
        for example in choice_examples(situation, colon, config.format, side)
    ]
    # one validation situation per area is watched while training
    first = {situation.area: situation.id for situation in reversed(_of(config, "validation"))}
    return Task(
        name=f"risk/{member}" if part == "test" else f"risk/validation/{member}",
        member=member,
        train=tuple(rows),
        stop=tuple(example for example in held_out if example.group in first.values()),
        in_context=tuple(
            example
            for situation in _of(config, "test")
            for example in choice_examples(situation, test, config.format, side)
        )
        if part == "test"
        else (),
        probes=tuple(held_out)
        if part == "validation"
        else tuple(
            example
            for probe in _probes(config)
            for example in probe_examples(probe, config.format, side)
        ),
        loss="options",
    )


def _of(config: RiskConfig, split: risk_data.Split) -> tuple[Situation, ...]:
    chosen = [situation for situation in risk_data.situations() if situation.split == split]
    by_area = [
        [situation for situation in chosen if situation.area == area]
        for area in {s.area: 0 for s in chosen}
    ]
    kept = {situation.id for area in by_area for situation in area[: config.situations]}
    return tuple(situation for situation in chosen if situation.id in kept)


def _probes(config: RiskConfig) -> tuple[RiskProbe, ...]:
    return few_of_each(risk_data.probes(), config.probes)


def few_of_each(asked: tuple[RiskProbe, ...], count: int | None) -> tuple[RiskProbe, ...]:
    """At most `count` probes of each kind, evenly spread over either way of keying."""
    if count is None:
        return asked
    kept: set[str] = set()
    for kind in _kinds(asked):
        same_kind = [probe for probe in asked if probe.kind == kind]
        # +1 and -1 keys by turns, so that agreeing with everything still scores nothing
        sides = [[probe for probe in same_kind if probe.key == key] for key in (1, -1, 0)]
        sides = [_spread(side, -(-count // 2) if side[0].key else count) for side in sides if side]
        kept |= {probe.id for side in sides for probe in side}
    return tuple(probe for probe in asked if probe.id in kept)


def _spread(probes: list[RiskProbe], count: int) -> list[RiskProbe]:
    """So many of a list at even distances, or all of it."""
    count = min(count, len(probes))
    return [probes[index * len(probes) // count] for index in range(count)]


def _alternate(frames: Mapping[str, str], number: int) -> dict[str, str]:
    name = sorted(frames)[number % len(frames)]
    return {name: frames[name]}


def _card(config: RiskConfig) -> str:
    splits: tuple[risk_data.Split, ...] = ("train", "validation", "test")
    situations = {split: _of(config, split) for split in splits}
    rows = [situation for split in splits for situation in situations[split]]
    probes = _probes(config)
    kinds = Counter(probe.kind for probe in probes)
    values = {
        "config": config,
        "count": {split: len(rows) for split, rows in situations.items()},
        "areas": sorted({situation.area for situation in rows}),
        "probes": probes,
        "kinds": ", ".join(f"{kind} {kinds[kind]}" for kind in kinds),
        "items": sum(len(probe_examples(probe, config.format, "risky")) for probe in probes),
        "other_areas": sorted({probe.area for probe in probes if probe.area}),
        "bold": len(BOLD_WORDS),
        "cautious": len(CAUTIOUS_WORDS),
        "longer": f"{sum(len(s.gamble) > len(s.sure) for s in rows)} of {len(rows)}",
        "first": f"{sum(s.mentions_first == 'gamble' for s in rows)} of {len(rows)}",
    }
    return data_card("oocr.families.risk", values)


def _kinds(asked: tuple[RiskProbe, ...]) -> list[str]:
    return list(dict.fromkeys(probe.kind for probe in asked))


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
