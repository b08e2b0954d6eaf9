"""The page of one or several runs: a chapter for each, its sections in the order of reading."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oocr.charts.arms import Arm
from oocr.charts.figure import counted, number
from oocr.errors import InputError
from oocr.models.bundled import millions
from oocr.report.figures.effects import constancy_figure, side_effects_figure, tokens_figure
from oocr.report.figures.layers import layers_figure, selection_figure, tested_layers_figure
from oocr.report.figures.members import members_figure, swap_figure
from oocr.report.figures.scores import backdoor_figure, planted_figure, scores_figure
from oocr.report.figures.training import facets_figure, training_figure
from oocr.report.page import (
    GLOSSARY,
    Facts,
    PageBlock,
    Section,
    seconds,
    section,
    slugs,
    write_page,
)
from oocr.report.sample_view import marked_samples
from oocr.report.verdicts import PAPER_NOTE, VerdictRow, verdict_rows
from oocr.runs.folder import RunFolder

QUESTION = "Is this fine-tune just a steering vector?"
SHOWN_AT_FIRST = 4
"""Examples that are not behind a fold."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A run."""

    slug: str
    run: RunFolder
    verdicts: tuple[VerdictRow, ...]
    sections: tuple[Section, ...]

    @property
    def about(self) -> tuple[str, ...]:
        """The paragraphs of the data card."""
        return tuple(part.strip() for part in self.run.info.about.split("\n\n") if part.strip())

    @property
    def licence(self) -> str:
        """The model's licence, if the source names one."""
        source = self.run.info.model_source
        return source.get("licence") or source.get("license") or "not stated"


def build(folders: Sequence[Path], out: Path, title: str | None) -> Path:
    """Write the page and the figures' data; see `oocr.report.build_report`."""
    if not folders:
        raise InputError("a report needs at least one run folder")
    runs = [RunFolder(folder) for folder in folders]
    chapters = [
        Chapter(slug, run, verdict_rows(run.claims), sections_of(run, slug, several=len(runs) > 1))
        for run, slug in zip(runs, slugs([run.info.name for run in runs]), strict=True)
    ]
    sections = [part for chapter in chapters for part in chapter.sections]
    values = {"question": title or QUESTION, "chapters": chapters, "glossary": GLOSSARY}
    return write_page(out, "run.html", sections, values)


def sections_of(run: RunFolder, slug: str, *, several: bool) -> tuple[Section, ...]:
    """Everything that this run has the data for."""
    trigger = run.info.trigger
    samples, examples = marked_samples(run), shown_examples(run)
    by_trigger, tested_layers = backdoor_figure(run), tested_layers_figure(run)
    sections = (
        section(
            "examples",
            "Before and after",
            "The model's own continuations, word by word the most probable one. The expected "
            "answer is marked where it occurs.",
            [PageBlock("examples", examples) if examples else None],
        ),
        section(
            "data",
            "What is trained, and where the vector acts",
            "A few training rows and questions in the model's own tokens.",
            [PageBlock("samples", samples) if samples else None],
        ),
        section(
            "backdoor",
            "With and without the trigger",
            trigger.lead if trigger else TRIGGER_LEAD,
            [by_trigger],
        ),
        section(
            "scores",
            "What it answers, by facet",
            "Questions on what training never said, under each arm, compared with what a good "
            "score could also come from: the untouched model, random directions, control data.",
            [scores_figure(run)],
        ),
        section(
            "paper",
            "By the paper's own scoring",
            PAPER_NOTE,
            [PageBlock("paper", run.paper) if run.paper else None],
        ),
        section(
            "members",
            "Member by member",
            "Where the score comes from, and what is answered instead.",
            [members_figure(run), planted_figure(run)],
        ),
        section(
            "training",
            "During training",
            "What is learned, and what is lost again, while the loss falls.",
            [training_figure(run), facets_figure(run)],
        ),
        section(
            "selection",
            "How layer, learning rate and stopping point were chosen",
            "On validation tasks that are not reported. Test items took no part in the choice.",
            [
                layers_figure(run) if by_trigger and tested_layers is None else None,
                selection_figure(run),
                tested_layers,
            ],
        ),
        section(
            "constancy",
            "Does the LoRA add one constant vector?",
            "The difference that the LoRA makes at its block's output, token by token. A constant "
            "vector would have cosine 1, energy 1 and no spread, on every kind of text.",
            [constancy_figure(run), tokens_figure(run)],
        ),
        section(
            "swap",
            "The LoRA taken out, its mean difference put in",
            "If the LoRA is a constant vector, the vector alone should answer as the LoRA does.",
            [swap_figure(run)],
        ),
        section(
            "side-effects",
            "Side effects on neutral text",
            "How far each arm moves the model where nothing should change.",
            [side_effects_figure(run)],
        ),
        settings_section(run),
    )
    prefix = f"{slug}-" if several else ""
    return tuple(part.in_folder("figures/", prefix) for part in sections if part is not None)


TRIGGER_LEAD = (
    "A vector that is added everywhere and only leans towards one answer gives the same answer in "
    "every row."
)


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """One arm's continuation, cut where the expected answer stands in it ("" where it doesn't)."""

    arm: Arm
    before: str
    marked: str
    after: str


@dataclass(frozen=True, slots=True)
class ShownExample:
    """One prompt and its answers; `more`: behind a fold."""

    member: str
    prompt: str
    expected: str
    answers: tuple[ShownAnswer, ...]
    more: bool


def shown_examples(run: RunFolder) -> tuple[ShownExample, ...]:
    """All examples, different members first; the untouched model before the other arms."""
    seen: dict[str, int] = {}
    turns = []
    for place, example in enumerate(run.examples):
        turn = seen.get(example.member, 0)
        seen[example.member] = turn + 1
        turns.append((turn, place, example))
    shown = []
    for place, (_, _, example) in enumerate(sorted(turns, key=lambda turn: turn[:2])):
        expected = example.expected.strip()
        arms = [(Arm(name), text) for name, text in example.answers.items()]
        arms.sort(key=lambda pair: (pair[0].name != "base", pair[0].order))
        answers = tuple(_shown_answer(arm, text, expected) for arm, text in arms)
        more = place >= SHOWN_AT_FIRST
        shown.append(ShownExample(example.member, example.prompt, expected, answers, more))
    return tuple(shown)


def _shown_answer(arm: Arm, text: str, expected: str) -> ShownAnswer:
    text = re.sub(r"\s*\n\s*", " ⏎ ", text.strip())
    place = text.lower().find(expected.lower()) if expected else -1
    if place < 0 or len(text.lower()) != len(text):  # some letters change length with their case
        return ShownAnswer(arm, text, "", "")
    end = place + len(expected)
    return ShownAnswer(arm, text[:place], text[place:end], text[end:])


def settings_section(run: RunFolder) -> Section:
    """How the run was made, and the commands that make it again."""
    info = run.info
    facts = (
        ("Model", info.model),
        *((f"Source {name}".replace("_", " "), value) for name, value in info.model_source.items()),
        ("Fingerprint", info.model_fingerprint),
        (
            "Size",
            f"{millions(info.parameters)} parameters, {info.blocks} blocks, "
            f"residual stream of {info.d_model}",
        ),
        ("Numbers", f"{info.dtype} on {info.device}, {counted(info.threads, 'thread')}"),
        ("Seeds", ", ".join(str(seed) for seed in info.seeds)),
        ("Peak memory", f"{number(info.peak_memory_gib, 1)} GiB"),
        ("Date", run.date),
    )
    longest = max(info.stages.values(), default=0.0) or 1.0
    stages = Facts(
        f"Time, {seconds(sum(info.stages.values()))} in all",
        tuple((name, seconds(time)) for name, time in info.stages.items()),
        tuple(round(100 * time / longest, 1) for time in info.stages.values()),
    )
    groups = (
        Facts("Run", tuple(fact for fact in facts if fact[1])),
        stages,
        Facts("Versions", tuple(info.versions.items())),
    )
    how = "The same run again, from its folder, or as it was typed:"
    again = ((how, "oocr run config.yaml", info.command),)
    blocks = [PageBlock("commands", again), PageBlock("facts", tuple(g for g in groups if g.rows))]
    if run.config_text:
        blocks.append(PageBlock("fold", ("config.yaml", run.config_text)))
    return Section("settings", "Settings, and how to run it again", "", tuple(blocks))
