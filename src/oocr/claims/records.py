"""Findings and claims as typed records: what analyses hand over and what reports show."""

from __future__ import annotations

from typing import Any, Literal

from markupsafe import escape
from pydantic import Field

from oocr import html
from oocr.io import Record

Verdict = Literal["holds", "holds in part", "does not hold", "cannot be tested"]


class Estimate(Record):
    """A number with its 95 % interval (`oocr.intervals`) and what that draws from."""

    value: float
    low: float
    high: float
    n: str


class Null(Record):
    """A control's value to compare a number with (for random directions: their 95th centile)."""

    name: str
    value: float


class _Measured(Record):
    """A number and what it is compared with.

    `measure`: what it is, in words; `base`: the untouched model's; `nulls`: values of controls;
    `ceiling`: the value with the answer's cause in the prompt, or the highest possible.
    """

    id: str
    measure: str = ""
    found: Estimate | None = None
    base: float | None = None
    nulls: tuple[Null, ...] = ()
    ceiling: float | None = None

    @property
    def number(self) -> dict[str, Any]:
        """All of it but the id."""
        names = ("measure", "found", "base", "nulls", "ceiling")
        return {name: getattr(self, name) for name in names}

    def _facts(self) -> dict[str, object]:
        """Rows of a notebook's table."""
        facts: dict[str, object] = {"id": self.id}
        if (estimate := self.found) is not None:
            ends = f"[{estimate.low:.3g}, {estimate.high:.3g}]"
            interval = "(no interval)" if estimate.low == estimate.high else ends
            facts["found"] = f"{estimate.value:.3g} {interval}, {estimate.n}"
        facts |= {} if self.base is None else {"untouched model": f"{self.base:.3g}"}
        facts |= {null.name: f"{null.value:.3g}" for null in self.nulls}
        return facts if self.ceiling is None else {**facts, "ceiling": f"{self.ceiling:.3g}"}


class Finding(_Measured):
    """One number with its interval, and all that a rule needs to judge it.

    Attributes:
        units: how many members, probes or pairs the interval draws; None: fewer judge it too.
        paired: name -> lower end of the interval of the paired difference to that arm.
        parts: name -> lower end of the interval of a part, or of another number.
        verdict, rule: set where the run itself has judged the number.
    """

    measure: str
    found: Estimate
    units: int | None = None
    paired: dict[str, float] = Field(default_factory=dict)
    parts: dict[str, float] = Field(default_factory=dict)
    verdict: Verdict | None = None
    rule: str = ""

    def _repr_html_(self) -> str:
        return html.facts(self.measure, self._facts())


class Judged(_Measured):
    """A claim's number and verdict; `found` is None where nothing was measured."""

    verdict: Verdict
    rule: str
    command: str

    def _repr_html_(self) -> str:
        facts = {**self._facts(), "verdict": self.verdict, "rule": self.rule}
        return html.facts(self.measure or self.id, facts)


class Claim(Judged):
    """A claim of a run, with everything needed to judge it."""

    claim: str
    measure: str
    found: Estimate

    def _repr_html_(self) -> str:
        return f"<b>{escape(self.claim)}</b>{Judged._repr_html_(self)}"


class PaperReference(Record):
    """What a paper score is compared with: the untouched model, random directions, a control."""

    name: str
    share: float
    second: float


class PaperScore(Record):
    """How an arm does on the paper's own questions, scored as the paper does; without a verdict.

    `share` is the share of items on which the right option has the highest score (a tie is
    wrong). `second` is, where all items have two options, the mean log-odds of the right one
    ("logit difference, nats"), else its mean probability among the options ("probability").
    `member` is "" where all members count together; opposite twins have a line each.
    """

    arm: Literal["vector", "adapter"]
    member: str
    facet: str
    items: int
    share: Estimate
    second: Estimate
    second_is: Literal["logit difference, nats", "probability"]
    beside: tuple[PaperReference, ...] = ()
