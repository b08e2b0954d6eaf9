"""What an analysis hands back."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from oocr.claims.records import Finding


@dataclass(frozen=True, slots=True, eq=False)
class AnalysisResult:
    """Findings, a table for figures, and why something is missing.

    Attributes:
        findings: numbers.
        table: one row per mark of a figure; None: no figure.
        missing: why findings are missing; "" if none are.
    """

    findings: tuple[Finding, ...] = ()
    table: pl.DataFrame | None = None
    missing: str = ""
