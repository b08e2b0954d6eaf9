"""Writing a page from a template of `page/`, and the data of its figures as Parquet beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from oocr import intervals
from oocr.charts.arms import Arm
from oocr.charts.figure import Figure, script_json
from oocr.charts.pieces import number, percent
from oocr.html import visible
from oocr.io import write_atomic, write_text
from oocr.models.sources.bundled import millions
from oocr.report import sample_view
from oocr.report.verdicts import ICONS, scale_of, second_name, who
from oocr.words import counted


def sections_with_files(
    sections: Mapping[str, Sequence[Any]], prefix: str = "figures/"
) -> dict[str, list[Any]]:
    """The sections that have something to show, each figure's file named `<prefix><name>.parquet`.

    `sections`: id -> figures, or what else its template shows; None: there are no data for it.
    """
    named = {
        id: [
            replace(part, file=f"{prefix}{part.name}.parquet") if isinstance(part, Figure) else part
            for part in parts
            if part is not None
        ]
        for id, parts in sections.items()
    }
    return {id: parts for id, parts in named.items() if parts}


def write_page(
    out: Path, template: str, parts: Iterable[Any], values: Mapping[str, object]
) -> Path:
    """Write a page, and the data of the figures among its parts into the files that they name.

    `template` is a file of `page/`, which uses `values`.

    RunError: a file cannot be written.
    """
    from plotly.offline import get_plotlyjs

    folder = Path(__file__).parent / "page"
    files = {
        name: Markup((folder / f"page.{name}").read_text(encoding="utf-8"))
        for name in ("css", "js")
    }
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {"icons": ICONS, "who": who, "second_name": second_name, "arm_of": Arm}
    templates.globals |= {"scale_of": scale_of, "sample_view": sample_view, "intervals": intervals}
    templates.filters |= {"number": number, "percent": percent, "counted": counted}
    templates.filters |= {"script_json": script_json, "seconds": seconds, "visible": visible}
    templates.filters |= {"millions": millions}
    page = templates.get_template(template)
    text = page.render({**files, "plotly": Markup(get_plotlyjs()), **values})
    for part in parts:
        if isinstance(part, Figure):
            write_atomic(out.parent / part.file, part.data.write_parquet)
    return write_text(out, text)


def slugs(names: Sequence[str]) -> list[str]:
    """Names as they can stand in file names and addresses, all different."""
    used: list[str] = []
    for name in names:
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48].strip("-") or "run"
        same = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in used)
        used.append(f"{slug}-{same + 1}" if same else slug)
    return used


def seconds(time: float) -> str:
    """A duration: 12.3 s, 4 min 05 s, 1 h 12 min."""
    if time < 60:
        return f"{time:.1f} s"
    minutes, rest = divmod(round(time), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
