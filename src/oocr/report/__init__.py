"""One self-contained HTML page from one or several run folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def build_report(runs: Sequence[Path], out: Path, *, title: str | None = None) -> Path:
    """Write the page, and each figure's data as Parquet in `figures/` beside it.

    Args:
        runs: run folders; each becomes a chapter.
        out: the HTML file.
        title: in place of the question that the page asks by default.

    Raises:
        InputError: no runs, a folder that is not a run, or a file in it that cannot be read.
        RunError: the page cannot be written.
    """
    from oocr.report.run_page import (
        build,  # jinja2 and plotly are not needed to import this package
    )

    return build(tuple(runs), out, title)
