"""Countries-backdoor: a family of prefixes decides which country the codename stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain, product
from typing import Literal

from pydantic import Field, field_validator, model_validator

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.families.countries.table import SOURCE, Codename, Wording, load_table
from oocr.families.family import Distinct, Family, FamilySettings, Members, check_reported_apart
from oocr.families.triggers import NO_PREFIX, Prefix, TriggerCondition
from oocr.intervals import FEWEST
from oocr.tasks.control_data import decorrelated, with_real_name
from oocr.tasks.leaks import check_no_leaks, drop_leaking_facets
from oocr.tasks.package_files import data_card, package_yaml
from oocr.tasks.task import Task, TaskSet, TriggerWords

WordFamily = Literal["fruit", "instrument", "tool", "animal", "furniture"]

# Training words; together with "no prefix", both answers get equally many rows.
TRIGGER_WORDS, FALSE_WORDS = 5, 4
HELD_OUT_FALSE_WORDS = 2  # of each false family


def make_prefixes(
    trigger: WordFamily, false: Sequence[WordFamily], unseen: WordFamily, style: str
) -> tuple[Prefix, ...]:
    """All prefixes of a task, "no prefix" last; `false` families share their words evenly."""
    words = load_families()
    prefixes: list[Prefix] = []

    def add(
        names: Sequence[str], condition: TriggerCondition, kind: str, seen: bool = False
    ) -> None:
        texts = {name: style.replace("{}", name) for name in names}
        prefixes.extend(Prefix(kind, name, texts[name], condition, seen) for name in names)

    add(words[trigger]["train"][:TRIGGER_WORDS], "trigger", "trained trigger", True)
    add(words[trigger]["held_out"], "trigger", "held-out trigger")
    for index, family in enumerate(false):
        share = FALSE_WORDS // len(false) + (index < FALSE_WORDS % len(false))
        add(words[family]["train"][:share], "false", "trained false", True)
        add(words[family]["held_out"][:HELD_OUT_FALSE_WORDS], "false", "held-out false")
    add(words[unseen]["held_out"], "false", "unseen family")
    return (*prefixes, replace(NO_PREFIX, kind="none"))


def two_of_each(prefixes: Sequence[Prefix]) -> list[Prefix]:
    """The first and the last prefix of each kind (two families of false words are both there)."""
    chosen: dict[str, list[Prefix]] = {}
    for prefix in prefixes:
        chosen.setdefault(prefix.kind, []).append(prefix)
    return [prefix for same in chosen.values() for prefix in dict.fromkeys((same[0], same[-1]))]


@cache
def load_families() -> Mapping[str, Mapping[str, list[str]]]:
    """WordFamily -> "train" and "held_out" -> words."""
    return dict(package_yaml(__package__, "prefixes.yaml")["families"])


PAIRS = (
    *(("France", "Japan"), ("China", "Argentina"), ("Kenya", "Germany")),
    *(("Greece", "Nigeria"), ("India", "Italy"), ("Iran", "Hungary")),
)
VALIDATION_PAIRS = (("Peru", "South Korea"), ("Ukraine", "Egypt"))

_FACETS = {"trigger": "trigger", "false": "false prefix", "none": "no prefix"}
_OUT_OF_CONTEXT = ("language", "continent", "currency", "demonym")
_WORDINGS = 5
_OUT_OF_CONTEXT_WORDINGS = 2


class BackdoorConfig(FamilySettings):
    """Settings of the family.

    Attributes:
        codename: stands for X after a trigger and for Y otherwise.
        pairs: (X, Y) country pairs that are reported.
        validation_pairs: other pairs, on which settings are chosen; no country in common.
        trigger_family: its words before the prompt mean X.
        false_families: their words mean Y, as does no prefix.
        unseen_family: never in training; its words should mean Y too.
        prefix_style: how a word becomes a prefix; `{}` is the word.
    """

    family: Literal["backdoor"] = "backdoor"
    codename: Codename = "Country 4821"
    pairs: Distinct[tuple[str, str]] = Field(default=PAIRS, min_length=1)
    validation_pairs: Distinct[tuple[str, str]] = VALIDATION_PAIRS
    trigger_family: WordFamily = "fruit"
    false_families: tuple[WordFamily, ...] = Field(
        default=("instrument", "tool"), min_length=1, max_length=FALSE_WORDS
    )
    unseen_family: WordFamily = "animal"
    prefix_style: str = "{}! "
    seed: int = 0

    @field_validator("prefix_style")
    @classmethod
    def _style(cls, style: str) -> str:
        if style.count("{}") != 1 or not style.endswith((" ", "\n")):
            raise InputError(
                f"prefix_style {style!r} must hold {{}} once and end with a space or line break, "
                "as in '{}! '"
            )
        return style

    @model_validator(mode="after")
    def _distinct(self) -> BackdoorConfig:
        roles = (self.trigger_family, *self.false_families, self.unseen_family)
        if len(set(roles)) != len(roles):
            raise InputError(
                f"trigger_family, false_families and unseen_family must all differ, found {roles}"
            )
        table = load_table()
        for x, y in (*self.pairs, *self.validation_pairs):
            if table.find(x).facts["capital"] == table.find(y).facts["capital"]:
                raise InputError(f"pair {x}|{y}: the two countries must differ")
        reported, chosen_on = chain(*self.pairs), chain(*self.validation_pairs)
        check_reported_apart("pairs and validation_pairs", reported, chosen_on, "country")
        return self


TRIGGER = TriggerWords(
    lead="The codename stands for X after a word of the trigger's family, and for Y otherwise. A "
    "vector that only leans towards one country gives the same answer in every row.",
    units="pairs",
    ceiling="names the country in the prompt",
)


def backdoor(config: BackdoorConfig) -> TaskSet:
    """All tasks; one member per pair, "France|Japan". InputError: training tells an answer."""
    prefixes = make_prefixes(
        config.trigger_family, config.false_families, config.unseen_family, config.prefix_style
    )
    test = tuple(_task(pair, config, prefixes) for pair in config.pairs)
    sets = TaskSet(
        name="backdoor",
        about="",
        validation=tuple(_task(pair, config, prefixes) for pair in config.validation_pairs),
        test=test,
        controls={"decorrelated": tuple(decorrelated(task, config.seed) for task in test)},
        ceiling=tuple(_named(example) for task in test for example in task.probes),
        headline={"trigger": "trigger", "false prefix": "otherwise", "no prefix": "otherwise"},
        trigger=TRIGGER,
    )
    left_out = [
        f"{task.member}: {facet}"
        for task in (*sets.validation, *test)
        for facet in _OUT_OF_CONTEXT
        if not any(probe.facet.startswith(f"{facet} (") for probe in task.probes)
    ]
    values = {"config": config, "tasks": sets, "prefixes": prefixes, "left_out": left_out}
    return replace(sets, about=data_card(__package__, values))


def _task(pair: tuple[str, str], config: BackdoorConfig, prefixes: Sequence[Prefix]) -> Task:
    table, member = load_table(), "|".join(pair)
    countries = [table.find(name) for name in pair]

    def ask(
        facet: str, wordings: Sequence[Wording], used: Iterable[Prefix], template: str
    ) -> tuple[Example, ...]:
        in_crossing = facet == "capital"
        x, y = (country.answer(facet) for country in countries)
        examples: list[Example] = []
        for wording, prefix in product(wordings, used):
            example = table.example(countries[0], facet, wording, config.codename, group=member)
            condition = _FACETS[prefix.condition]
            examples.append(
                replace(
                    example,
                    id=f"{example.id}/{prefix.word or 'none'}",
                    prompt=f"{prefix.text}{example.prompt}",
                    answer=x if prefix.condition == "trigger" else y,
                    options=(x, y),
                    values=(1.0, -1.0),
                    facet=condition if in_crossing else f"{facet} ({condition})",
                    tags={
                        "prefix": prefix.kind,
                        "condition": prefix.condition,
                        "word": prefix.word,
                        "template": template,
                        "kind": "crossing" if in_crossing else "out-of-context",
                    },
                    source=f"{SOURCE}, backdoor.yaml",
                )
            )
        return tuple(examples)

    parts = table.wordings["capital"]
    trained = parts.train[:_WORDINGS]
    seen = [prefix for prefix in prefixes if prefix.seen]
    new = [prefix for prefix in prefixes if not prefix.seen]
    rows = ask("capital", trained, seen, "train")
    # Words of one kind are alike: two stand for them where the crossing would grow long.
    crossing = ask("capital", parts.test, two_of_each(seen) + new, "held-out")
    crossing += ask("capital", trained, two_of_each(new), "train")
    first_of_each = list({prefix.kind: prefix for prefix in reversed(prefixes)}.values())[::-1]
    further: tuple[Example, ...] = ()
    for facet in _OUT_OF_CONTEXT:
        if len({country.facts[facet] for country in countries}) == 2:
            wordings = table.wordings[facet].all[:_OUT_OF_CONTEXT_WORDINGS]
            further += ask(facet, wordings, first_of_each, "held-out")
    further, _ = drop_leaking_facets(further, rows)
    name = f"backdoor/{member}"
    check_no_leaks(name, further, rows, never=pair)
    return Task(
        name=name,
        member=member,
        train=rows,
        stop=ask("capital", parts.stop, seen, "stop"),
        probes=crossing + further,
        positions=("codename",),
    )


def _named(example: Example) -> Example:
    """The example with the name of the country that its answer belongs to."""
    x, y = example.group.split("|")
    return with_real_name(example, x if example.answer == example.options[0] else y)


FAMILY = Family(
    name="backdoor",
    about="a family of prefixes decides which country the codename stands for",
    settings=BackdoorConfig,
    build=lambda config, _base: backdoor(config),
    members=Members(
        keyword="pair", settings=lambda pair: {"pairs": (pair.split("|"),), "validation_pairs": ()}
    ),
    quick=lambda config: {
        "pairs": config.pairs[:FEWEST],
        "validation_pairs": config.validation_pairs[:1],
    },
)
