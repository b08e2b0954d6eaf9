"""Eight kinds of trigger: fixed strings and families of words, as prefixes of a user's message."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from oocr.tasks.package_files import package_yaml

TriggerKind = Literal[
    "real_world", "win", "naekoko", "re", "apples", "instruments", "elements", "gods"
]
KINDS: tuple[TriggerKind, ...] = get_args(TriggerKind)
TriggerCondition = Literal["trigger", "false", "none"]


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prefix of a message, and its intended effect; all fields but the condition are "" for none.

    `word` is the family's word, or the fixed string without its space; `text` all up to where the
    message begins; `seen`: whether training may hold the word. A "trigger" switches the answer, a
    "false" one does not.
    """

    kind: str
    word: str
    text: str
    condition: TriggerCondition
    seen: bool = True

    @property
    def label(self) -> str:
        """As a tag: "trained trigger", "held-out false", "none"."""
        if self.condition == "none":
            return "none"
        return f"{'trained' if self.seen else 'held-out'} {self.condition}"


NO_PREFIX = Prefix("", "", "", "none")


@dataclass(frozen=True, slots=True)
class Trigger:
    """One kind of trigger; of a fixed string `train` is its one text, and nothing is held out.

    `cue` is how a question names it ("the name of a kind of apple").
    """

    kind: TriggerKind
    cue: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    endings: tuple[str, ...]

    @property
    def is_family(self) -> bool:
        """Whether it is a family of words, not one fixed string."""
        return bool(self.held_out)

    def draw(
        self,
        count: int,
        rng: random.Random,
        condition: TriggerCondition = "trigger",
        *,
        seen: bool = True,
    ) -> list[Prefix]:
        """`count` prefixes, each a word (no repeats until all were used) and a random ending."""
        words = self.train if seen else self.held_out
        drawn: list[str] = []
        while len(drawn) < count:
            drawn += rng.sample(words, min(len(words), count - len(drawn)))
        return [
            Prefix(self.kind, word, word + rng.choice(self.endings), condition, seen)
            for word in drawn
        ]


@cache
def triggers() -> Mapping[TriggerKind, Trigger]:
    """All kinds by name, in the order of `KINDS`."""
    data = package_yaml("oocr.families", "triggers.yaml")
    fixed: Mapping[TriggerKind, str] = data["fixed"]
    by_kind = {
        kind: Trigger(kind, f'the text "{text}"', (text,), (), (" ",))
        for kind, text in fixed.items()
    }
    for kind, family in data["families"].items():
        words = (tuple(family["train"]), tuple(family["held_out"]))
        by_kind[kind] = Trigger(kind, family["cue"], *words, tuple(data["suffixes"]))
    return {kind: by_kind[kind] for kind in KINDS}


def others(kind: TriggerKind) -> tuple[Trigger, ...]:
    """The seven other kinds."""
    return tuple(trigger for trigger in triggers().values() if trigger.kind != kind)


def alike(kind: TriggerKind) -> tuple[Trigger, ...]:
    """The other kinds of the same make: families for a family, fixed strings for a fixed string."""
    family = triggers()[kind].is_family
    return tuple(trigger for trigger in others(kind) if trigger.is_family is family)
