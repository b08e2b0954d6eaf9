"""Rows of arms whose scores are made up, and the claims that they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from oocr.claims.judge import RunResults, judge_run
from oocr.claims.records import Claim
from oocr.claims.run_claims import COMMON
from oocr.data.examples import Example
from oocr.tasks.task import Score, Task, TaskSet

MEMBERS = tuple(f"m{i}" for i in range(8))
FACETS = ("language", "dish")
Rule = Callable[[str, int, str, int], float]
"""(member, seed, facet, item number) -> share right, or log-odds."""

ITEMS = 10


def table(
    arm: str,
    rule: Rule,
    *,
    control: str = "",
    members: Sequence[str] = MEMBERS,
    seeds: int = 3,
    facets: Sequence[str] = FACETS,
    final: bool = True,
    part: str = "probes",
) -> pl.DataFrame:
    """Rows of an arm; of each ten items of a facet the first `10 * rule` are right."""
    rows = []
    for member in members:
        for seed in range(seeds):
            for facet in facets:
                for number in range(ITEMS):
                    value = rule(member, seed, facet, number)
                    rows.append(
                        {
                            **{"arm": arm, "control": control, "member": member, "seed": seed},
                            **{"part": part, "step": 5, "final": final, "facet": facet},
                            "item": f"{member}/{facet}/{number}",
                            "group": f"{facet}/{number}",
                            "answer": f"{member}/{facet}",
                            "right": number < round(ITEMS * value),
                            "log_odds": float(value),
                            "tag_against": None,
                        }
                    )
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides={"tag_against": pl.String})


def same(value: float) -> Rule:
    return lambda member, seed, facet, number: value


def spread(low: float, high: float) -> Rule:
    """Half of the members low, half high."""
    return lambda member, seed, facet, number: high if int(member[1:]) % 2 else low


def randoms(values: Sequence[float], arm: str = "random direction") -> pl.DataFrame:
    return table(arm, lambda m, seed, f, n: values[seed], seeds=len(values))


def task_set(name: str, score: Score, members: Sequence[str]) -> TaskSet:
    item = Example(id="a", prompt="a", answer=" b", options=(" b", " c"))
    controls = [Task(name=m, member=m, train=(item,)) for m in ("shuffled", "shuffled opposite")]
    tests = tuple(Task(name=m, member=m, train=(item,), probes=(item,)) for m in members)
    twins = ("risky", "safe") if score == "log_odds" and len(members) == 2 else None
    return TaskSet(
        name=name,
        about="",
        validation=(),
        test=tests,
        score=score,
        poles=twins,
        controls={"shuffled": tuple(controls)} if twins else {},
    )


def judge(
    *tables: pl.DataFrame,
    name: str = "countries",
    score: Score = "accuracy",
    members: Sequence[str] = MEMBERS,
    headline: Mapping[str, str] | None = None,
    constancy: pl.DataFrame | None = None,
    balance: str | None = "answer",
) -> dict[str, Claim]:
    tasks = replace(task_set(name, score, members), balance=balance)
    if headline is None and "backdoor" in name:
        headline = {"with the trigger": "trigger", "without": "otherwise"}
    if headline:
        tasks = TaskSet(**{**fields_of(tasks), "headline": headline})
    results = RunResults(tasks, pl.concat(tables, how="diagonal_relaxed"), 3, constancy)
    claims = judge_run(COMMON, results, "the command")
    assert len({claim.id for claim in claims}) == len(claims)
    for claim in claims:
        Claim.model_validate_json(claim.model_dump_json())
        numbers = [
            claim.found.value,
            claim.found.low,
            claim.found.high,
            *(n.value for n in claim.nulls),
        ]
        assert np.isfinite(numbers).all(), "every number can be written and shown"
    return {claim.id: claim for claim in claims}


def fields_of(tasks: TaskSet) -> dict[str, Any]:
    return {name: getattr(tasks, name) for name in TaskSet.__slots__}


BASE = table("base", same(0.1), seeds=1)
TOP = table("ceiling", same(0.9), seeds=1)
NULL = randoms([0.1] * 19 + [0.2])
SHUFFLED = table("vector", same(0.1), control="shuffled", seeds=1)


def contrast(
    arm: str, size: Callable[[int, int], float], *, control: str = "", seeds: int = 3
) -> pl.DataFrame:
    """Rows of two sides whose log-odds differ by `size(item number, seed)`."""
    first, second = ("shuffled", "shuffled opposite") if control else ("risky", "safe")

    def rule(member: str, seed: int, facet: str, number: int) -> float:
        return size(number, seed) * (0.5 if member == first else -0.5) + number

    return table(arm, rule, control=control, members=[first, second], seeds=seeds)


def judge_contrast(*tables: pl.DataFrame) -> dict[str, Claim]:
    return judge(*tables, name="risk", score="log_odds", members=["risky", "safe"])


def noise(scale: float, arm: str = "random direction") -> pl.DataFrame:
    sizes = np.linspace(-scale, scale, 20)
    return contrast(arm, lambda number, seed: float(sizes[seed]), seeds=20)
