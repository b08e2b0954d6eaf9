"""What every page is made of: sections of figures and blocks, and the writing of a page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jinja2
from markupsafe import Markup

from oocr.charts.arms import Arm
from oocr.charts.figure import Figure, number, script_json
from oocr.io import write_atomic, write_text
from oocr.report.paper import second_name, who
from oocr.report.verdicts import ICONS

Kind = Literal[
    "bars",
    "claims",
    "commands",
    "examples",
    "facts",
    "fold",
    "paper",
    "readings",
    "samples",
    "table",
]


@dataclass(frozen=True, slots=True)
class Block:
    """Anything but a figure: `kind` names the macro of `page/blocks.html` that shows `value`."""

    kind: Kind
    value: Any


@dataclass(frozen=True, slots=True)
class Facts:
    """A titled list of (name, value); with `bars`, each has a bar of so many percent."""

    title: str
    rows: tuple[tuple[str, str], ...]
    bars: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Bar:
    """A word with a number, and how long its bar is in percent."""

    word: str
    value: str
    width: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with a sentence, and what follows it in order."""

    id: str
    title: str
    lead: str = ""
    parts: tuple[Figure | Block, ...] = ()

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Its figures in order."""
        return tuple(part for part in self.parts if isinstance(part, Figure))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Its other parts in order."""
        return tuple(part for part in self.parts if isinstance(part, Block))

    def in_folder(self, folder: str, prefix: str = "") -> Section:
        """The section with each figure's Parquet file named: `<folder>/<prefix><name>.parquet`."""
        parts = tuple(
            replace(part, file=f"{folder}{prefix}{part.name}.parquet")
            if isinstance(part, Figure)
            else part
            for part in self.parts
        )
        return replace(self, parts=parts)


def section(
    id: str, title: str, lead: str, parts: Sequence[Figure | Block | None]
) -> Section | None:
    """A section of the parts that there are; None where there is none."""
    present = tuple(part for part in parts if part is not None)
    return Section(id, title, lead, present) if present else None


def write_page(
    out: Path, template: str, sections: Sequence[Section], values: Mapping[str, object]
) -> Path:
    """Write a page, and the data of its sections' figures as Parquet beside it.

    Args:
        out: the HTML file; figures' files are named from its folder.
        template: a file of `page/`.
        sections: all sections whose figures are written.
        values: what the template uses.

    Raises:
        RunError: a file cannot be written.
    """
    from plotly.offline import get_plotlyjs

    files = {name: Markup(_page_file(f"page.{name}")) for name in ("css", "js")}
    page = (
        environment()
        .get_template(template)
        .render({**files, "plotly": Markup(get_plotlyjs()), "sections": sections, **values})
    )
    for part in sections:
        for figure in part.figures:
            write_atomic(out.parent / figure.file, figure.data.write_parquet)
    return write_text(out, page)


def environment() -> jinja2.Environment:
    """Templates with what all of them use."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("oocr.report", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["icons"] = ICONS
    templates.globals["who"] = who
    templates.globals["second_name"] = second_name
    templates.globals["arm_of"] = Arm
    templates.filters["number"] = number
    templates.filters["script_json"] = script_json
    return templates


def _page_file(name: str) -> str:
    return (Path(__file__).parent / "page" / name).read_text(encoding="utf-8")


def slugs(names: Sequence[str]) -> list[str]:
    """Names as they can stand in file names and addresses, all different."""
    used: list[str] = []
    for name in names:
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48].strip("-") or "run"
        same = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in used)
        used.append(f"{slug}-{same + 1}" if same else slug)
    return used
