"""Claims and their numbers, as typed records: the interface between judging and reporting."""

from __future__ import annotations

from typing import Literal

from oocr.io import Record

Verdict = Literal["holds", "holds in part", "does not hold", "cannot be tested"]


class Estimate(Record):
    """A number with its 95 % interval (`oocr.stats`) and what that draws from."""

    value: float
    low: float
    high: float
    n: str


class Null(Record):
    """A control's value to hold a number against (for random directions: their 95th centile)."""

    name: str
    value: float


class Claim(Record):
    """One claim with everything needed to judge it."""

    id: str
    claim: str
    measure: str
    found: Estimate
    base: float | None = None
    nulls: tuple[Null, ...] = ()
    ceiling: float | None = None
    verdict: Verdict
    rule: str
    command: str


class Beside(Record):
    """What a paper score stands beside: the untouched model, random directions, a control."""

    name: str
    share: float
    second: float


class PaperScore(Record):
    """How an arm does on the paper's own questions, scored as the paper does; without a verdict.

    `share` is the share of items on which the right option has the highest score (a tie is
    wrong). `second` is, where all items have two options, the mean log-odds of the right one
    ("logit difference, nats"), else its mean probability among the options ("probability").
    `member` is "" where all members count together; opposite twins are told apart.
    """

    arm: Literal["vector", "adapter"]
    member: str
    facet: str
    items: int
    share: Estimate
    second: Estimate
    second_is: Literal["logit difference, nats", "probability"]
    beside: tuple[Beside, ...] = ()
