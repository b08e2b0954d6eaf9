"""Audits of several fine-tunes as one page: a table, and how alike their vectors are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from oocr.audit.record import Audit
from oocr.audit.several import Comparison
from oocr.charts.figure import Figure
from oocr.charts.heat import heat_panel
from oocr.report.page import write_page


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A fine-tune in the table: its audit and that one's folder, or why there is none."""

    name: str
    model: str
    audit: Audit | None = None
    folder: Path | None = None
    problem: str = ""
    cluster: int | None = None


def build_audits_page(
    rows: Sequence[AuditRow], comparisons: Sequence[Comparison], folder: Path, command: str
) -> Path:
    """Write `report.html`, and the table behind its figure, into a folder beside the audits'.

    RunError: the folder cannot be written.
    """
    figures = [_cosines(place, comparison) for place, comparison in enumerate(comparisons)]
    values = {
        "rows": rows,
        "pairs": list(zip(comparisons, figures, strict=True)),
        "command": command,
    }
    return write_page(folder / "report.html", "audits.html", figures, values)


def _cosines(place: int, comparison: Comparison) -> Figure:
    names = comparison.names
    table = pl.DataFrame(
        {"a": a, "b": b, "cosine": comparison.cosines[i][j]}
        | {"cluster_a": comparison.clusters[i], "cluster_b": comparison.clusters[j]}
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    )
    panel = heat_panel(names, names, comparison.cosines, most=1.0, span=12)
    caption = (
        f"Signed cosines of the mean differences at the output of block {comparison.layer}, alike "
        f"ones beside each other. Of random directions 95 % of |cosines| are below "
        f"{comparison.uniform:.2f} (uniform) and {comparison.covariance:.2f} (with the residual "
        f"stream's covariance). Clusters: mean cosine above {comparison.cut:.2f}."
    )
    name = "cosines" if not place else f"cosines-{place + 1}"
    return Figure(name, caption, {"": (panel,)}, table, file=f"{name}.parquet", scale=("−1", "1"))
