"""Putting the page together."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from oocr.charts.arms import Arm
from oocr.charts.figure import Figure, number, script_json
from oocr.errors import InputError
from oocr.io import write_atomic, write_text
from oocr.report.chapter import Chapter, chapter_of
from oocr.report.paper import second_name, who
from oocr.report.runs import read_run
from oocr.report.settings import GLOSSARY
from oocr.report.verdicts import ICONS

if TYPE_CHECKING:
    from collections.abc import Sequence

QUESTION = "Is this fine-tune just a steering vector?"


def build(folders: Sequence[Path], out: Path, title: str | None) -> Path:
    """Write the page and the figures' data; see `oocr.report.build_report`."""
    from plotly.offline import get_plotlyjs

    if not folders:
        raise InputError("a report needs at least one run folder")
    runs = [read_run(folder) for folder in folders]
    chapters = [
        _filed(chapter_of(run, slug), several=len(runs) > 1)
        for run, slug in zip(runs, slugs([run.info.name for run in runs]), strict=True)
    ]
    page = (
        environment()
        .get_template("page.html")
        .render(
            question=title or QUESTION,
            chapters=chapters,
            glossary=GLOSSARY,
            css=own_file("page.css"),
            js=own_file("page.js"),
            plotly=Markup(get_plotlyjs()),
        )
    )
    for chapter in chapters:
        for figure in chapter.figures:
            write_atomic(out.parent / figure.file, figure.data.write_parquet)
    return write_text(out, page)


def slugs(names: Sequence[str]) -> list[str]:
    """Names as they can stand in file names and addresses, all different."""
    found: list[str] = []
    for name in names:
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48].strip("-") or "run"
        same = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", one) is not None for one in found)
        found.append(f"{slug}-{same + 1}" if same else slug)
    return found


def _filed(chapter: Chapter, *, several: bool) -> Chapter:
    """The chapter with each figure's Parquet file named."""

    def file(figure: Figure) -> Figure:
        name = f"{chapter.slug}-{figure.name}" if several else figure.name
        return replace(figure, file=f"figures/{name}.parquet")

    sections = tuple(
        replace(section, figures=tuple(file(one) for one in section.figures))
        for section in chapter.sections
    )
    return replace(chapter, sections=sections)


def environment() -> jinja2.Environment:
    """Templates with what all of them use."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("oocr.report", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["icons"] = ICONS
    found.globals["who"] = who
    found.globals["second_name"] = second_name
    found.globals["arm_of"] = Arm
    found.filters["number"] = number
    found.filters["script_json"] = script_json
    return found


def own_file(name: str) -> Markup:
    """One of the page's own files, inserted as it is."""
    path = Path(__file__).parent / "page" / name
    return Markup(path.read_text(encoding="utf-8"))
