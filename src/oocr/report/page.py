"""What every page is made of: sections of figures and blocks, words explained, the writing."""

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
from oocr.report.verdicts import ICONS, second_name, who
from oocr.stats import DRAWS

BlockKind = Literal[
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
class PageBlock:
    """Anything but a figure: `kind` names the macro of `page/blocks.html` that shows `value`."""

    kind: BlockKind
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
    parts: tuple[Figure | PageBlock, ...] = ()

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Its figures in order."""
        return tuple(part for part in self.parts if isinstance(part, Figure))

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
    id: str, title: str, lead: str, parts: Sequence[Figure | PageBlock | None]
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
    templates.globals |= {"icons": ICONS, "who": who, "second_name": second_name, "arm_of": Arm}
    templates.filters |= {"number": number, "script_json": script_json}
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


def seconds(time: float) -> str:
    """A duration: 12.3 s, 4 min 05 s, 1 h 12 min."""
    if time < 60:
        return f"{time:.1f} s"
    minutes, rest = divmod(round(time), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


GLOSSARY = (
    (
        "Out of context",
        "A question whose answer training never stated and whose cause is not in the prompt.",
    ),
    (
        "Layer",
        "Blocks number from 0; layer 4 is the residual stream at the output of block 4.",
    ),
    ("Facet", "What is asked about: one kind of question, with its own set of options."),
    (
        "Share right",
        "Share of items where the right option has the highest probability of all options.",
    ),
    (
        "Answer-balanced",
        "Within a facet, members with the same right answer share one vote, so that an answer "
        "given everywhere scores no more than one over the number of different answers.",
    ),
    (
        "Contrast",
        "Log-odds of the positive over the negative options after training towards the positive "
        "pole, minus the same after training towards the negative pole, in nats.",
    ),
    (
        "Interval",
        "95 %. Shares, cosines, energies, losses, divergences and perplexities have Wilson's score "
        "interval with the variance between members (or probe groups) and Student's t, which stays "
        "within what the number can be; shares of an effect have Fieller's. Log-odds have a "
        f"bootstrap of {DRAWS:,} draws of probe groups and, within each, of seeds (expanded "
        "percentiles).",
    ),
    ("Untouched model", "The model as it was, on the same prompts."),
    (
        "Random direction",
        "A vector drawn at random with the norm of the trained one, added at the same place; many "
        "of them make the null.",
    ),
    ("Shuffled", "Trained on the same prompts with answers that do not belong."),
    ("Planted", "Trained with one further fact, which is another member's."),
    ("Decorrelated", "Trained with answers drawn at random, so that the trigger says nothing."),
    ("Ceiling", "The untouched model with the cause stated in the prompt."),
    ("Span", "The tokens that the vector is added to, e.g. the codename."),
    (
        "Swap",
        "The LoRA is taken out and its mean difference is added as a constant vector: at the span, "
        "or at every token.",
    ),
    (
        "Recovery",
        "(swap − untouched) / (LoRA − untouched): the share of the LoRA's effect that the constant "
        "vector keeps.",
    ),
    (
        "Cosine to the mean",
        "With d the difference that the LoRA makes to the residual stream at a token: mean signed "
        "cosine of d with the mean of d. 1 for a constant direction, near 0 for no common one.",
    ),
    (
        "Energy of the mean",
        "|mean d|² / mean |d|²: the share of the effect that one constant vector carries.",
    ),
    ("Rank-1 share", "Share of Σ|d|² along the first singular direction, not centred."),
    ("Spread of norms", "Standard deviation of |d| over its mean."),
    ("KL", "Mean over neutral tokens of KL(untouched ‖ arm), in nats per token."),
)
