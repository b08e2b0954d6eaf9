"""The records of a paper: its claims, and the experiments that answer them.

    PaperSettings -> cells -> rows of each cell (kept) -> one table -> findings -> verdicts, figure

`papers/__init__.py` lists the papers; docs/how-to/add-a-paper.md has a small example.
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
"""The default model of experiments on language models."""

Rows = list[dict[str, Any]]
"""The result of a cell: rows of numbers and texts; their columns may differ."""


Figures = Figure | Sequence[Figure | None] | None
"""Return type of an experiment's `figure`."""


class PaperSettings(Record):
    """The user's settings: a quick or a full run, and the language models."""

    quick: bool = False
    models: tuple[str, ...] = (MODEL,)

    def seeds(self, full: int, quick: int) -> range:
        """The seeds from 0: `full` of them, in a quick run `quick` of them."""
        return range(quick if self.quick else full)


class Cell(Record):
    """Settings of the smallest unit of work whose result is kept; subclasses add JSON fields.

    Equal cells of an experiment are computed once, for quick and full runs together. `model` is
    the language model, "" if none is used.
    """

    seed: int = 0
    model: str = ""

    @property
    def label(self) -> str:
        """The settings that differ from the defaults, in one line."""
        return " ".join(str(value) for value in self.model_dump(exclude_defaults=True).values())


CellT = TypeVar("CellT", bound=Cell)


@dataclass(frozen=True, slots=True)
class Experiment(Generic[CellT]):
    """An experiment without a language model; its numbers answer claims.

    Attributes:
        name: unique among all papers; also the name of the figure's file.
        section: the section of the page with its claims and its figure.
        about: what is done, for the page and the terminal: a clause without a full stop.
        cells: settings -> cells.
        compute: cell -> rows. A function at the top level of a module, since other processes import
            it. It raises `NotMeasuredError` if the cell cannot be computed; the page shows why.
        analyse: table -> findings and the figure's rows. The table has the rows of all cells, with
            the settings of the cells as columns.
        figure: tables of `analyse` by subject -> one or more figures.
        subject: what was tested, in one or two words, shown with the verdict.
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
    """An experiment on language models; each cell names its model.

    Attributes as in `Experiment`; the subject is the model. `compute` also gets the loaded model
    with its caches. `config`: model -> a run that needs as much memory as a cell; it decides how
    many processes compute the cells.
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
    """Findings from the results of several experiments; it has no cells.

    Attributes:
        name, section, about, subject, figure: as in `Experiment`.
        reads: names of experiments of the paper.
        analyse: experiment -> subject -> analysis (some may be missing) -> findings, and the
            figure's rows.
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
        title: with authors and arXiv number.
        question: the heading of the page.
        about: a few sentences: what the page reproduces and what not.
        sections: section -> title, in the order of the page.
        experiments: in the order in which they run.
        claims: in the order of the page; `analysis` names an experiment or a summary.
        summaries: findings from several experiments.
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
    def is_published(self) -> bool:
        """Whether a published paper makes any of its claims."""
        return any(claim.of_paper for claim in self.claims)

    @property
    def uses_models(self) -> bool:
        """Whether any experiment uses language models."""
        return any(isinstance(experiment, ModelExperiment) for experiment in self.experiments)

    def only(self, ids: Sequence[str]) -> Paper:
        """The part that these claims need; without ids the whole paper.

        InputError: an unknown claim.
        """
        claim_ids = [claim.id for claim in self.claims]
        for name in ids:
            if name not in claim_ids:
                allowed = ", ".join(claim_ids)
                raise InputError(f"--only: {name!r} is not allowed; allowed: {allowed}")
        if not ids:
            return self
        claims = tuple(claim for claim in self.claims if claim.id in ids)
        needed = {claim.analysis for claim in claims}
        summaries = tuple(summary for summary in self.summaries if summary.name in needed)
        needed |= {name for summary in summaries for name in summary.reads}
        experiments = tuple(
            experiment for experiment in self.experiments if experiment.name in needed
        )
        return replace(self, claims=claims, experiments=experiments, summaries=summaries)


def claims_of(package: str, name: str = "claims.yaml") -> tuple[PageClaim, ...]:
    """The claims of a package's YAML file; fields: `PageClaim`, `analysis` is an experiment."""
    rows = with_rules(package_yaml(package, name))
    return TypeAdapter(tuple[PageClaim, ...]).validate_python(rows)
