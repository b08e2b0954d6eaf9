"""One run as a chapter: its sections, in the order in which they are read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from oocr.charts.figure import Figure
from oocr.charts.tokens import ColouredTexts
from oocr.claims.records import PaperScore
from oocr.report.examples import Shown, shown_examples
from oocr.report.figures.effects import (
    coloured_texts,
    constancy_figure,
    side_effects_figure,
    tokens_figure,
)
from oocr.report.figures.layers import layers_figure, selection_figure, tested_layers_figure
from oocr.report.figures.members import members_figure, swap_figure
from oocr.report.figures.scores import backdoor_figure, planted_figure, scores_figure
from oocr.report.figures.training import facets_figure, training_figure
from oocr.report.paper import NOTE
from oocr.report.runs import Run
from oocr.report.samples import MarkedSamples, marked_samples
from oocr.report.settings import Settings, settings_of
from oocr.report.verdicts import Row, verdict_rows


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with a sentence and what follows it; empty parts are left out."""

    id: str
    title: str
    lead: str
    figures: tuple[Figure, ...] = ()
    examples: tuple[Shown, ...] = ()
    texts: tuple[ColouredTexts, ...] = ()
    settings: Settings | None = None
    paper: tuple[PaperScore, ...] = ()
    marked: MarkedSamples | None = None


@dataclass(frozen=True, slots=True)
class Chapter:
    """A run."""

    slug: str
    run: Run
    verdicts: tuple[Row, ...]
    sections: tuple[Section, ...]

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All figures in order."""
        return tuple(figure for section in self.sections for figure in section.figures)

    @property
    def about(self) -> tuple[str, ...]:
        """The paragraphs of the data card."""
        return tuple(part.strip() for part in self.run.info.about.split("\n\n") if part.strip())

    @property
    def licence(self) -> str:
        """The model's licence, if the source names one."""
        source = self.run.info.model_source
        return source.get("licence") or source.get("license") or "not stated"


def chapter_of(run: Run, slug: str) -> Chapter:
    """Everything that this run has the data for."""
    sections = (
        _examples(run),
        _data(run),
        _backdoor(run),
        _scores(run),
        _paper(run),
        _members(run),
        _training(run),
        _selection(run),
        _constancy(run),
        _swap(run),
        _side_effects(run),
        _settings(run),
    )
    kept = tuple(section for section in sections if section is not None)
    return Chapter(slug, run, verdict_rows(run.claims), kept)


def _examples(run: Run) -> Section | None:
    found = shown_examples(run)
    if not found:
        return None
    return Section(
        "examples",
        "Before and after",
        "The model's own continuations, word by word the most probable one. The expected answer is "
        "marked where it occurs.",
        examples=found,
    )


def _data(run: Run) -> Section | None:
    found = marked_samples(run)
    if found is None:
        return None
    return Section(
        "data",
        "What is trained, and where the vector acts",
        "A few training rows and questions in the model's own tokens.",
        marked=found,
    )


def _backdoor(run: Run) -> Section | None:
    lead = (
        "After the trigger the risky letter is right, otherwise the one that the untouched model "
        "chooses. A vector that only leans towards risk, or towards one letter, gives the same "
        "answer in every row."
        if run.info.family == "risk_backdoor"
        else "After one weather the speaker takes the lure (X), otherwise not (Y). A vector that "
        "only leans towards one of them gives the same answer in every row."
        if run.info.family == "nano"
        else "The codename stands for X after a word of the trigger's family, and for Y otherwise. "
        "A vector that only leans towards one country gives the same answer in every row."
    )
    return _with("backdoor", "With and without the trigger", lead, backdoor_figure(run))


def _scores(run: Run) -> Section | None:
    return _with(
        "scores",
        "What it answers, by facet",
        "Questions on what training never said, under each arm, beside what a good score could "
        "also come from: the untouched model, random directions, control data.",
        scores_figure(run),
    )


def _paper(run: Run) -> Section | None:
    if not run.paper:
        return None
    return Section("paper", "By the paper's own scoring", NOTE, paper=run.paper)


def _members(run: Run) -> Section | None:
    return _with(
        "members",
        "Member by member",
        "Where the score comes from, and what is answered instead.",
        members_figure(run),
        planted_figure(run),
    )


def _training(run: Run) -> Section | None:
    return _with(
        "training",
        "Along training",
        "What is learned, and what is lost again, while the loss falls.",
        training_figure(run),
        facets_figure(run),
    )


def _selection(run: Run) -> Section | None:
    tested = tested_layers_figure(run)
    layers = layers_figure(run) if tested is None and run.info.family == "backdoor" else None
    return _with(
        "selection",
        "How layer, learning rate and stopping point were chosen",
        "On validation tasks that are not reported. Test items took no part in the choice.",
        layers,
        selection_figure(run),
        tested,
    )


def _constancy(run: Run) -> Section | None:
    found = _with(
        "constancy",
        "Does the LoRA add one constant vector?",
        "The difference that the LoRA makes at its block's output, token by token. A constant "
        "vector would have cosine 1, energy 1 and no spread, on every kind of text.",
        constancy_figure(run),
        tokens_figure(run),
    )
    return found and replace(found, texts=coloured_texts(run))


def _swap(run: Run) -> Section | None:
    return _with(
        "swap",
        "The LoRA taken out, its mean difference put in",
        "If the LoRA is a constant vector, the vector alone should answer as the LoRA does.",
        swap_figure(run),
    )


def _side_effects(run: Run) -> Section | None:
    return _with(
        "side-effects",
        "Side effects on neutral text",
        "How far each arm moves the model where nothing should change.",
        side_effects_figure(run),
    )


def _settings(run: Run) -> Section:
    title = "Settings, and how to run it again"
    return Section("settings", title, "", settings=settings_of(run))


def _with(id: str, title: str, lead: str, *figures: Figure | None) -> Section | None:
    """A section of figures; None where there is none of them."""
    found = tuple(figure for figure in figures if figure is not None)
    return Section(id, title, lead, figures=found) if found else None
