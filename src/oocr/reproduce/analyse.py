"""Doing analyses once: each is kept beside the run it was made from, and redone if that changes."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from oocr.claims.records import Estimate, Finding, Null
from oocr.io import RESULTS_VERSION, write_text
from oocr.reproduce.analyses.ablation import ablation, relearned
from oocr.reproduce.analyses.asked import asked
from oocr.reproduce.analyses.attention import attention
from oocr.reproduce.analyses.concepts import readable
from oocr.reproduce.analyses.constancy import grouped, pairs
from oocr.reproduce.analyses.costs import costs
from oocr.reproduce.analyses.described import described
from oocr.reproduce.analyses.geometry import cosines, seed_lines
from oocr.reproduce.analyses.judged import judged
from oocr.reproduce.analyses.mechanism import directions, reads
from oocr.reproduce.analyses.mixing import mixing
from oocr.reproduce.analyses.narrow import narrow
from oocr.reproduce.analyses.ranks import ranks
from oocr.reproduce.analyses.scores import layers, methods
from oocr.reproduce.analyses.training import dynamics, specificity
from oocr.reproduce.analyses.vectors import naive_scores, natural_scores
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns
from oocr.reproduce.records import Analysis
from oocr.runs.folder import read_table, write_table

VERSION = "4"
"""Raise it when a change of an analysis changes numbers: those made before are redone."""

FRESH = ("judged",)
"""Analyses that only copy what a run wrote: made anew, as what they read is not in their key."""

ANALYSES: dict[str, Callable[[FinishedRuns], AnalysisResult]] = {
    "judged": judged,
    "methods": methods,
    "layers": layers,
    "pairs": pairs,
    "grouped": grouped,
    "natural": natural_scores,
    "naive": naive_scores,
    "readable": readable,
    "described": described,
    "asked": asked,
    "cosines": cosines,
    "lines": seed_lines,
    "reads": reads,
    "attention": attention,
    "directions": directions,
    "ablation": ablation,
    "relearned": relearned,
    "ranks": ranks,
    "narrow": narrow,
    "mixing": mixing,
    "specificity": specificity,
    "costs": costs,
    "dynamics": dynamics,
}


def analyse(subject: FinishedRuns, name: str) -> tuple[Analysis, pl.DataFrame | None]:
    """One analysis of a subject, from its run's folder if it is there unchanged.

    Args:
        subject: finished runs.
        name: one of `ANALYSES`.

    Raises:
        RunError: a file of the runs cannot be read, or the result cannot be written.
    """
    place = subject.runs[0].folder / "analyses"
    path, table_path = place / f"{name}.json", place / f"{name}.parquet"
    key = _key(subject, name)
    kept = None if name in FRESH else _kept(path, table_path, key)
    if kept is not None:
        return kept, read_table(table_path) if kept.table else None
    began = time.perf_counter()
    made = ANALYSES[name](subject)
    findings, broken = _sound(made.findings)
    missing = "; ".join(part for part in (made.missing, broken) if part)
    if made.table is not None:
        write_table(table_path, made.table)
    found = Analysis(
        name=name,
        key=key,
        model=subject.model.name,
        findings=findings,
        missing=missing,
        seconds=round(time.perf_counter() - began, 1),
        table=made.table is not None,
    )
    write_text(path, found.model_dump_json(indent=1) + "\n")
    return found, made.table


def _key(subject: FinishedRuns, name: str) -> str:
    """Hash of everything the numbers depend on."""
    every = [subject, *[subject.beside[one] for one in sorted(subject.beside)]]
    judge = None if subject.judge is None or name != "asked" else subject.judge.model
    parts = [
        *([judge] if judge else []),
        *(VERSION, RESULTS_VERSION, name, subject.quick, subject.model.fingerprint),
        [[arm.key for arm in run.arms] for one in every for run in one.runs],
        [run.rows_hash for one in every for run in one.runs],
        # Numbers are the same with any number of workers.
        [run.config.model_copy(update={"workers": None}).yaml() for s in every for run in s.runs],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _kept(path: Path, table: Path, key: str) -> Analysis | None:
    try:
        found = Analysis.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, ValueError):
        return None  # made again: it costs minutes at most
    return found if found.key == key and (not found.table or table.is_file()) else None


def _sound(findings: tuple[Finding, ...]) -> tuple[tuple[Finding, ...], str]:
    """Findings that are numbers, and a sentence on those that are not."""
    good = tuple(one for one in findings if _finite(one.found))
    bad = [one.id for one in findings if not _finite(one.found)]
    cleaned = tuple(
        one.model_copy(update={"nulls": tuple(null for null in one.nulls if _number(null))})
        for one in good
    )
    return cleaned, f"not a number: {', '.join(bad)}" if bad else ""


def _finite(one: Estimate) -> bool:
    return all(math.isfinite(value) for value in (one.value, one.low, one.high))


def _number(null: Null) -> bool:
    return math.isfinite(null.value)
