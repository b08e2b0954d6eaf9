"""From a run's results and findings to verdicts, for runs and `oocr reproduce` alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from oocr.claims.conditions import Findings
from oocr.claims.records import Claim, Estimate, Finding, Null, Verdict
from oocr.claims.rules import Rule
from oocr.evals.scores import Scoring
from oocr.intervals import FEWEST, Interval
from oocr.stats import Cells
from oocr.tasks.task import TaskSet

NAMES = {"vector": "a steering vector", "adapter": "a one-layer LoRA"}
NOT_MEASURED = "this task does not measure it"


@dataclass(frozen=True)
class RunResults:
    """All that claims need of a run.

    `rows`: one row per item scored (columns: `oocr.runs.records`); `seeds`: of each trained arm;
    `constancy`: one row per adapter and token group, if that was measured.
    """

    tasks: TaskSet
    rows: pl.DataFrame
    seeds: int
    constancy: pl.DataFrame | None = None

    @cached_property
    def scoring(self) -> Scoring:
        """How the rows are scored."""
        return Scoring.of(self.tasks)

    @property
    def several(self) -> bool:
        """Whether there are members to draw from, or only one."""
        return len(self.tasks.test) > 1

    def cells(
        self, arm: str, control: str = "", part: str = "probes", seed: int | None = None
    ) -> Cells | None:
        """The score of an arm; None without such rows."""
        return self.scoring.cells(self.rows, arm, control, part, seed)


def seeds_of(count: int) -> str:
    """A number of seeds in words."""
    return f"{count} seed" + ("" if count == 1 else "s")


def n_of(cells: Cells, units: str) -> str:
    """How many units were drawn, and seeds."""
    return f"{len(cells.clusters)} {units} × {seeds_of(cells.values.shape[1])}"


def estimate_of(interval: Interval, n: str) -> Estimate:
    """An interval as a finding's number."""
    return Estimate(value=interval.value, low=interval.low, high=interval.high, n=n)


def null_of(scores: Sequence[float]) -> Null | None:
    """The 95th centile of the scores of random directions; None of none."""
    if not scores:
        return None
    name = f"{len(scores)} random directions, 95th centile"
    return Null(name=name, value=float(np.quantile(scores, 0.95)))


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """A row of a table of claims; `finding` computes its number, or None if it does not apply.

    `words` are the claim; "": what the run's tasks claim of the arm with which the id begins.
    """

    id: str
    words: str
    finding: Callable[[RunResults], Finding | None]
    rule: Rule


def verdict_on(
    rule: Rule, finding: Finding | None, findings: Findings, missing: str = ""
) -> tuple[Verdict, str]:
    """The verdict on a finding, and why if it cannot be tested (`missing`: why it is None)."""
    if finding is None:
        return "cannot be tested", missing or NOT_MEASURED
    if few := _too_few(finding):
        return "cannot be tested", few
    verdict = rule.judge(finding, findings)
    return verdict, rule.why(finding, findings) if verdict == "cannot be tested" else ""


def _too_few(finding: Finding) -> str:
    """Why an interval over so few units judges nothing; "" if it does."""
    if finding.units is None or finding.units >= FEWEST:
        return ""
    return f"measured on {finding.found.n}: no interval of fewer than {FEWEST} can judge"


def judge_run(rows: Iterable[ClaimRow], results: RunResults, command: str) -> list[Claim]:
    """All claims whose numbers the run measured, in the order of the rows."""
    pairs = [(row, row.finding(results)) for row in rows]
    findings = {finding.id: finding for _, finding in pairs if finding is not None}
    return [
        judge(row, finding, findings, command, results.tasks.claim)
        for row, finding in pairs
        if finding is not None
    ]


def judge(
    row: ClaimRow, finding: Finding, findings: Findings, command: str, of_task: str = ""
) -> Claim:
    """One claim of a run; `of_task`: what its tasks claim of an "{arm}"."""
    verdict, _ = verdict_on(row.rule, finding, findings)
    words = row.rule.words_for(finding, findings)
    if few := _too_few(finding):
        words += f" Here it cannot be tested: {few}."
    claim = row.words or of_task.format(arm=NAMES[row.id.partition("-")[0]])
    shared = {"id": row.id, "claim": claim, "verdict": verdict, "rule": words}
    return Claim(**shared, **finding.number, command=command)
