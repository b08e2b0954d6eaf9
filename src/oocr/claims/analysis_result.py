"""The result of an analysis: findings, rows of its figure, and reasons for what is missing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from oocr.claims.records import Finding


class NotMeasuredError(Exception):
    """Why an analysis has no findings, as a sentence for the page."""


@dataclass(slots=True)
class AnalysisResult:
    """The result of an analysis.

    Attributes:
        findings: numbers with intervals; claims name them by their ids.
        rows: of the figure's table, one per mark; empty: no figure.
        reasons: why findings are missing.
    """

    findings: list[Finding] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def table(self) -> pl.DataFrame | None:
        """The figure's table."""
        return pl.DataFrame(self.rows, infer_schema_length=None) if self.rows else None

    @property
    def missing(self) -> str:
        """The reasons in one text."""
        return "; ".join(self.reasons)

    @contextmanager
    def attempt(self, before: str = "") -> Iterator[None]:
        """Inside, a `NotMeasuredError` becomes one of the reasons (after these words)."""
        try:
            yield
        except NotMeasuredError as reason:
            self.reasons.append(f"{before}{reason}")

    def sound(self) -> tuple[Finding, ...]:
        """The findings that are numbers with intervals; others become a reason."""
        sound: list[Finding] = []
        broken: list[str] = []
        for finding in self.findings:
            number = finding.found
            if all(math.isfinite(value) for value in (number.value, number.low, number.high)):
                nulls = tuple(null for null in finding.nulls if math.isfinite(null.value))
                sound.append(finding.model_copy(update={"nulls": nulls}))
            else:
                broken.append(finding.id)
        if broken:
            words = "no interval, as the effect that it is a share of is not clearly above 0"
            self.reasons.append(f"{words}: {', '.join(broken)}")
        return tuple(sound)
