"""A panel for two figures: test margin against the ratio of bridge names to test names."""

from __future__ import annotations

from collections.abc import Sequence

from oocr.charts.figure import Panel
from oocr.charts.lines import Line, lines_panel

CLOSED_FORM = "max-margin solution, g"


def closed_form() -> Line:
    """The line g = min(1, sqrt(m_tr / m_te))."""
    shares = [10 ** (step / 20) for step in range(-20, 11)]
    return Line(CLOSED_FORM, "base", shares, [min(1.0, share**0.5) for share in shares])


def against_shares(lines: Sequence[Line], title: str = "") -> Panel:
    """Lines and dots against m_tr / m_te."""
    return lines_panel(
        lines,
        "bridge names / test names",
        "test margin / training margin",
        title=title,
        log=True,
        ticks=(0.1, 0.2, 0.5, 1, 2, 3),
        limits=(-0.05, 1.1),
        span=6,
    )
