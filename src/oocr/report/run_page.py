"""The page of one or several runs: a chapter for each, its sections in the order of reading."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oocr.charts.arms import Arm
from oocr.errors import InputError
from oocr.report.figures import effects, members, scores, selection, swap, training, triggers
from oocr.report.page import sections_with_files, slugs, write_page
from oocr.runs.folder import RunFolder
from oocr.runs.records import Continuation

QUESTION = "Is this fine-tune just a steering vector?"


@dataclass(frozen=True, slots=True)
class Chapter:
    """A run; `sections`: id -> its figures, or what its macro in `page/run.html` shows."""

    slug: str
    run: RunFolder
    sections: dict[str, list[Any]]


def build_report(folders: Sequence[Path], out: Path, *, title: str | None = None) -> Path:
    """Write the page, and each figure's data as Parquet in `figures/` beside it.

    Args:
        folders: of runs; each becomes a chapter.
        out: the HTML file.
        title: in place of the question that the page asks by default.

    InputError: no runs, a folder that is not a run, or a file in it that cannot be read. RunError:
    the page cannot be written.
    """
    if not folders:
        raise InputError("a report needs at least one run folder")
    runs = [RunFolder(folder) for folder in folders]
    chapters = [
        Chapter(slug, run, sections_of(run, f"figures/{slug}-" if len(runs) > 1 else "figures/"))
        for run, slug in zip(runs, slugs([run.info.name for run in runs]), strict=True)
    ]
    parts = [part for chapter in chapters for parts in chapter.sections.values() for part in parts]
    return write_page(out, "run.html", parts, {"question": title or QUESTION, "chapters": chapters})


def sections_of(run: RunFolder, prefix: str) -> dict[str, list[Any]]:
    """Everything that this run has the data for; `prefix` begins the names of figures' files."""
    by_trigger, tested_layers = triggers.backdoor_figure(run), selection.tested_layers_figure(run)
    layers = selection.layers_figure(run) if by_trigger and tested_layers is None else None
    sections: dict[str, Sequence[Any]] = {
        "examples": examples_in_turn(run),
        "data": run.samples,
        "backdoor": [by_trigger],
        "scores": [scores.scores_figure(run)],
        "paper": run.paper,
        "members": [members.members_figure(run), scores.planted_figure(run)],
        "training": [training.training_figure(run), training.facets_figure(run)],
        "selection": [layers, selection.selection_figure(run), tested_layers],
        "constancy": [effects.constancy_figure(run), effects.tokens_figure(run)],
        "swap": [swap.swap_figure(run)],
        "side-effects": [effects.side_effects_figure(run)],
        "settings": [run],
    }
    return sections_with_files(sections, prefix)


def examples_in_turn(
    run: RunFolder,
) -> list[tuple[Continuation, list[tuple[Arm, tuple[str, str, str]]]]]:
    """All examples, different members first, each with its answers, the untouched model's first.

    An answer is cut before and after the expected one, if that stands in it.
    """
    seen: dict[str, int] = {}
    turns = []
    for place, example in enumerate(run.examples):
        turn = seen[example.member] = seen.get(example.member, -1) + 1
        turns.append((turn, place, example))
    shown = []
    for _, _, example in sorted(turns, key=lambda turn: turn[:2]):
        arms = [(Arm(name), text) for name, text in example.answers.items()]
        arms.sort(key=lambda pair: (pair[0].name != "base", pair[0].order))
        expected = example.expected.strip()
        shown.append((example, [(arm, _cut(text, expected)) for arm, text in arms]))
    return shown


def _cut(text: str, expected: str) -> tuple[str, str, str]:
    """A text before, at and after the expected answer: ("…", "", "") where that isn't in it."""
    text = re.sub(r"\s*\n\s*", " ⏎ ", text.strip())
    place = text.lower().find(expected.lower()) if expected else -1
    if place < 0 or len(text.lower()) != len(text):  # some letters change length with their case
        return text, "", ""
    end = place + len(expected)
    return text[:place], text[place:end], text[end:]
