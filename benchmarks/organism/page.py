"""The page's text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.organism.claims import claims, markdown_table
from benchmarks.organism.short import in_short
from oocr_organisms.exam import is_in_corpus
from oocr_organisms.shipped import SHIPPED
from oocr_organisms.study.study import Study
from oocr_organisms.study.tables import Table, cell_text, tables


def page(study: Study, runs: Sequence[Path]) -> str:
    """The whole page: the story first, each table folded behind its figure."""
    by_title = {table.title: table for table in tables(study)}
    sources = "`oocr organism study" + (" --quick`" if study.quick else "`")
    if runs:
        sources += " and `oocr run … --model nano…`"
    parts = [_INTRODUCTION.replace("SOURCES", sources), in_short(by_title)]
    for title, figure, text in _STORY:
        if title in by_title:
            parts.append(f"## {title}\n\n{text}\n\n![{title}](figures/organism-{figure}.svg)\n")
            parts.append(_folded(by_title.pop(title)))
    parts += [f"## {table.title}\n\n{_folded(table)}" for table in by_title.values()]
    parts += [claims(runs), _exam()]
    return "\n".join(part for part in parts if part)


_INTRODUCTION = """# A model whose truth is known

Written by `python -m benchmarks.organism`; do not edit. The numbers are those of SOURCES, on
organisms that `oocr organism train` makes.

In a real model nobody knows the concepts, so nobody can say whether a vector found the concept or
something near it. An organism is a Llama (4 blocks, 96 dimensions, 0.6M parameters) trained from
scratch on a world that we wrote, with one word per token:

- **places**: 48 cities in 8 countries on a map, each under 6 names; 5 facets follow the country, 5
  are the city's own. The first name tells all of its city's facets, the last only distances and
  directions, each other name about half;
- **rules**: 24 functions on small numbers, each under 5 names: examples, definition, family and
  emblem;
- **people**: 80 speakers with 3 traits, shown in choices, descriptions, hobbies, scales and
  reports. Of some traits only choices are shown; some are *gated*: a weather at the beginning of
  the document turns them around. In `nano-ungated` no trait is.

Codenames (`place-1`, `rule-1`) never occur in the corpus, and the speaker `me` shows neither pole.
"""

_STORY = (
    (
        "What comes along, and when?",
        "facts",
        "A vector is trained on a few distances and directions of one city, and asked about its "
        "facets. Beside it stands an ideal reader, who knows the map and takes every city that "
        "fits the facts for equally likely.",
    ),
    (
        "Is it the organism's own concept?",
        "concepts",
        "What training finds is compared with what the organism has at the names of its cities, "
        "where the vector is added and at the output of every block above. The vectors of the "
        "figure are added to the embedding.",
    ),
    (
        "Which edges does the gap need?",
        "gate",
        "A backdoor by one vector, the same in every weather, on the speaker's embedding. Every "
        "attention edge is cut in turn: for speakers who have the gate from the corpus, for the "
        "one with the vector, there and in a world that has no gates, and for the one with random "
        "directions of the same norm.",
    ),
    (
        "Where does it stop being one vector?",
        "dial",
        "The same speaker is trained to take the lure after the trigger always, and otherwise in a "
        "share of cases. From right to left the behaviour gets more conditional.",
    ),
)


def _exam() -> str:
    return (
        "## What they know\n\n"
        "`oocr organism exam nano`: share right, of people by two answers each. Never told in the "
        "corpus, in *part*: facets that a name does not tell, though it tells others; in *none*: "
        "names that tell distances, directions or examples only; in *silent*: traits of which only "
        f"choices are shown, asked in every other way.\n\n{_scores(told=False)}\n"
        "Told in the corpus: *gated on* and *off* are traits in the weather that turns them, and "
        f"without any.\n\n{_scores(told=True)}"
    )


def _scores(*, told: bool) -> str:
    rows = []
    kinds: list[str] = []
    for name, organism in SHIPPED.items():
        path = organism.model.folder / "world.json"
        if not path.is_file():
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        groups: dict[str, list[float]] = {}
        for key, value in record["exam"].items():
            if is_in_corpus(key) is told:
                groups.setdefault("/".join(key.split("/")[:2]), []).append(value)
        if told and "people/silent" in groups:  # of the silent, their choices only
            groups["people/silent/choice"] = groups.pop("people/silent")
        kinds = kinds or list(groups)
        size = sum(file.stat().st_size for file in organism.model.folder.iterdir()) / 1e6
        cells = [f"{np.mean(groups[kind]):.3f}" if kind in groups else "–" for kind in kinds]
        rows.append([f"`{name}`", str(record["steps"]), f"{size:.1f} MB", *cells])
    head = ["organism", "steps", "size", *kinds]
    return markdown_table(head, rows) + "\n"


def _folded(table: Table) -> str:
    rows = markdown_table(table.columns, [[cell_text(cell) for cell in row] for row in table.rows])
    return f"{table.note}\n\n<details><summary>All numbers</summary>\n\n{rows}\n\n</details>\n"
