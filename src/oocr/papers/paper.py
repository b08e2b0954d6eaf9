"""What a paper is: claims, and experiments whose cells are computed side by side and kept.

    PaperSettings -> cells -> rows of each cell, kept -> one table -> findings -> verdicts, figure

`papers/__init__.py` has the table of papers; docs/how-to/add-a-paper.md the smallest example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import polars as pl
from pydantic import TypeAdapter

from oocr.charts.figure import Figure, Tables
from oocr.claims.analysis_result import AnalysisResult
from oocr.claims.page_claims import KeptAnalysis, PageClaim, with_rules
from oocr.errors import InputError
from oocr.io import Record
from oocr.runs.config import RunConfig
from oocr.runs.context import RunContext
from oocr.tasks.package_files import package_yaml

MODEL = "gemma-3-270m"
"""The model of language experiments, if the user names none."""

Rows = list[dict[str, Any]]
"""The result of a cell: rows of numbers and texts; their columns may differ."""


Figures = Figure | Sequence[Figure | None] | None
"""Return types of an experiment's `figure`."""


class PaperSettings(Record):
    """The user's settings: quick or complete, and the language models."""

    quick: bool = False
    models: tuple[str, ...] = (MODEL,)

    def seeds(self, full: int, quick: int) -> range:
        """Seeds from 0 on: `full` of them, or in a quick look the first `quick` of these."""
        return range(quick if self.quick else full)


class Cell(Record):
    """The settings of the smallest work that is kept; a subclass adds fields, all JSON values.

    Equal cells of an experiment are computed once, whoever asks for them (quick or not). `model`
    is the language model that does it, "" where there is none.
    """

    seed: int = 0
    model: str = ""

    @property
    def label(self) -> str:
        """The settings that are not as by default, in one line."""
        return " ".join(str(value) for value in self.model_dump(exclude_defaults=True).values())


CellT = TypeVar("CellT", bound=Cell)


@dataclass(frozen=True, slots=True)
class Experiment(Generic[CellT]):
    """Work whose numbers answer claims; this class needs no language model.

    Attributes:
        name: no other experiment of any paper has it; also the name of its figure's file.
        section: the page's section that shows its claims and its figure.
        about: what is done, for the page and the terminal: a clause without a full stop.
        cells: the cells, from the settings.
        compute: the rows of a cell; a function of a module, as other processes import it. Raises
            `NotMeasuredError` where this cell cannot be computed: the page gives the reason.
        analyse: findings and the figure's rows, from the rows of all cells below each other; each
            row has its cell's settings as columns as well.
        figure: makes the figure (or several) from the tables of `analyse`, by subject.
        subject: what the numbers are about, in a word or two, beside the verdict.
        version: bump when a change of the code changes the rows.
    """

    name: str
    section: str
    about: str
    cells: Callable[[PaperSettings], Sequence[CellT]]
    compute: Callable[[CellT], Rows]
    analyse: Callable[[pl.DataFrame], AnalysisResult]
    figure: Callable[[Tables], Figures] | None = None
    subject: str = "toy"
    version: str = "1"


@dataclass(frozen=True, slots=True)
class ModelExperiment(Generic[CellT]):
    """Work with language models: each cell names one, and is done where that is loaded.

    Attributes as those of `Experiment`; the subject is the model. `compute` also gets the model,
    with its caches; `config` is a run on a model whose loading and memory the cells need: so many
    processes do them as there is room for that run.
    """

    name: str
    section: str
    about: str
    cells: Callable[[PaperSettings], Sequence[CellT]]
    compute: Callable[[CellT, RunContext], Rows]
    analyse: Callable[[pl.DataFrame], AnalysisResult]
    config: Callable[[str], RunConfig]
    figure: Callable[[Tables], Figures] | None = None
    version: str = "1"


@dataclass(frozen=True, slots=True)
class Summary:
    """What several experiments say together; it computes no cells of its own.

    Attributes:
        name: as an experiment's.
        section, about, subject: as an experiment's.
        reads: names of the paper's experiments.
        analyse: findings and the figure's rows, from the analyses of those (experiment -> subject
            -> analysis); what is missing there may be missing here.
        figure: as an experiment's.
    """

    name: str
    section: str
    about: str
    reads: tuple[str, ...]
    analyse: Callable[[Mapping[str, Mapping[str, KeptAnalysis]]], AnalysisResult]
    figure: Callable[[Tables], Figures] | None = None
    subject: str = "all"


AnyExperiment = Experiment[Any] | ModelExperiment[Any]


@dataclass(frozen=True, slots=True)
class Paper:
    """A paper that `oocr reproduce --paper NAME` redoes.

    Attributes:
        name: as the user types it.
        title: with authors and number.
        question: the page's heading.
        about: what the page does and does not redo; some sentences.
        sections: section -> its title, in the page's order.
        experiments: in the order in which they are done.
        claims: in the page's order; `analysis` names an experiment or a summary.
        summaries: what some of the experiments say together.
    """

    name: str
    title: str
    question: str
    about: str
    sections: Mapping[str, str]
    experiments: tuple[AnyExperiment, ...]
    claims: tuple[PageClaim, ...]
    summaries: tuple[Summary, ...] = ()

    @property
    def of_others(self) -> bool:
        """Whether any of its claims is made by a published paper."""
        return any(claim.of_paper for claim in self.claims)

    @property
    def has_models(self) -> bool:
        """Whether language models are asked."""
        return any(isinstance(experiment, ModelExperiment) for experiment in self.experiments)

    def only(self, ids: Sequence[str]) -> Paper:
        """What these claims need; of none, all of it.

        InputError: an unknown claim.
        """
        known = [claim.id for claim in self.claims]
        for name in ids:
            if name not in known:
                allowed = ", ".join(known)
                raise InputError(f"--only: {name!r} is not allowed; allowed: {allowed}")
        if not ids:
            return self
        claims = tuple(claim for claim in self.claims if claim.id in ids)
        asked = {claim.analysis for claim in claims}
        summaries = tuple(summary for summary in self.summaries if summary.name in asked)
        asked |= {name for summary in summaries for name in summary.reads}
        experiments = tuple(
            experiment for experiment in self.experiments if experiment.name in asked
        )
        return replace(self, claims=claims, experiments=experiments, summaries=summaries)


def claims_of(package: str, name: str = "claims.yaml") -> tuple[PageClaim, ...]:
    """The claims of a package's YAML file; fields: `PageClaim`, where `analysis: <experiment>`."""
    rows = with_rules(package_yaml(package, name))
    return TypeAdapter(tuple[PageClaim, ...]).validate_python(rows)
