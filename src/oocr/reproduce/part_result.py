"""A part of the plan with everything that was found on it: what the page is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from oocr.reproduce.plan import Part
from oocr.reproduce.records import Analysis, PaperVerdict


@dataclass(frozen=True, slots=True, eq=False)
class PartResult:
    """A part with everything that was found on it.

    Attributes:
        part: its runs and claims.
        folders: its runs' folders.
        analyses: name -> what was found, and the table behind its figure.
        judged: the claims asked of it, in the paper's order.
    """

    part: Part
    folders: tuple[Path, ...]
    analyses: dict[str, tuple[Analysis, pl.DataFrame | None]]
    judged: tuple[PaperVerdict, ...]
