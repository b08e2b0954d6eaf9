"""A paper's cells are computed once and kept; claims are judged on what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from oocr.claims.analysis_result import AnalysisResult, NotMeasuredError
from oocr.claims.page_claims import PageClaim
from oocr.claims.rules import stays_below
from oocr.errors import InputError
from oocr.papers import PAPERS
from oocr.papers.execute import ExperimentResult, run_paper
from oocr.papers.measure import mean_finding, values_of
from oocr.papers.paper import Cell, Experiment, ModelExperiment, Paper, PaperSettings, Rows
from oocr.report.papers_page import build_paper_page
from oocr.runs.context import RunContext
from tests.command_line import Call
from tests.tiny.runs import Tiny


class CountCell(Cell):
    value: float
    folder: str = ""


def compute(cell: CountCell) -> Rows:
    """Leaves a file for each time that it is called."""
    if cell.value < 0:
        raise NotMeasuredError("it is negative")
    marks = Path(cell.folder)
    (marks / f"{cell.seed}-{len(list(marks.iterdir()))}").touch()
    return [{"number": cell.value + part} for part in (0.0, 1.0)]


def analyse(table: pl.DataFrame) -> AnalysisResult:
    values = values_of(table, "number", by="seed")
    return AnalysisResult([mean_finding("mean", "mean number", values)], table.to_dicts())


def paper(folder: Path, values: Sequence[float]) -> Paper:
    folder.mkdir(exist_ok=True)

    def cells(settings: PaperSettings) -> list[CountCell]:
        asked = values[: 3 if settings.quick else None]
        return [
            CountCell(seed=seed, value=value, folder=str(folder))
            for seed, value in enumerate(asked)
        ]

    counting = Experiment("counting", "numbers", "numbers are averaged", cells, compute, analyse)
    claim = PageClaim(
        "small",
        "Section 1",
        "numbers",
        "They are small",
        "1",
        "counting",
        "mean",
        stays_below(3, 9),
    )
    return Paper(
        "toy", "A paper", "Small?", "About numbers.", {"numbers": "Numbers"}, (counting,), (claim,)
    )


def done(asked: Paper, out: Path, *, quick: bool = False, workers: int = 1) -> ExperimentResult:
    settings, command = PaperSettings(quick=quick), ["oocr", "reproduce", "--paper", "toy"]
    console = Console(quiet=True)
    (result,) = run_paper(asked, settings, out, console=console, command=command, workers=workers)
    return result


def test_cells_are_computed_once_and_shared_with_the_quick_look(tmp_path: Path) -> None:
    asked = paper(tmp_path / "marks", [0.5, 1.0, 1.5, 2.0])
    quick = done(asked, tmp_path / "runs", quick=True)
    assert len(list((tmp_path / "marks").iterdir())) == 3
    full = done(asked, tmp_path / "runs")
    assert len(list((tmp_path / "marks").iterdir())) == 4
    assert {cell.key for cell in quick.cells} < {cell.key for cell in full.cells}
    (verdict,) = full.verdicts
    assert verdict.found is not None
    assert verdict.found.value == pytest.approx(1.75)  # the mean of 1.0, 1.5, 2.0 and 2.5
    assert verdict.verdict == "holds"
    assert verdict.command == "oocr reproduce --paper toy --only small"


def test_processes_give_the_same_rows(tmp_path: Path) -> None:
    asked = paper(tmp_path / "marks", [0.5, 1.0, 1.5])
    alone, together = (done(asked, tmp_path / str(n), workers=n) for n in (1, 2))
    assert alone.table is not None
    assert together.table is not None
    assert alone.table.equals(together.table)


def count_blocks(cell: Cell, context: RunContext) -> Rows:
    return [{"number": float(context.model.n_blocks)}]


def test_a_cell_of_a_language_model_gets_it_loaded(tiny: Tiny, tmp_path: Path) -> None:
    def cells(settings: PaperSettings) -> list[Cell]:
        return [Cell(seed=seed, model=name) for name in settings.models for seed in range(3)]

    blocks = ModelExperiment(
        "blocks",
        "numbers",
        "blocks are counted",
        cells,
        count_blocks,
        analyse,
        config=lambda _: tiny.config(),
    )
    asked = replace(paper(tmp_path, []), experiments=(blocks,), claims=())
    settings = PaperSettings(models=(str(tiny.path),))
    (result,) = run_paper(asked, settings, tmp_path, console=Console(quiet=True), command=["oocr"])
    assert result.subject == result.analysis.model == str(tiny.path)
    assert [finding.found.value for finding in result.analysis.findings] == [4]
    assert result.analysis.findings[0].units == 3


def test_a_cell_that_cannot_be_computed_gives_its_reason(tmp_path: Path) -> None:
    result = done(paper(tmp_path / "marks", [-1.0]), tmp_path / "runs")
    (verdict,) = result.verdicts
    assert verdict.verdict == "cannot be tested"
    assert "it is negative" in verdict.why


def test_the_page_shows_claims_and_cells(tmp_path: Path) -> None:
    asked = paper(tmp_path / "marks", [0.5, 1.0, 1.5])
    result = done(asked, tmp_path / "runs")
    page = build_paper_page(asked, [result], tmp_path / "page.html", command="oocr reproduce")
    html = page.read_text(encoding="utf-8")
    assert 'id="claim-small"' in html
    assert "numbers are averaged" in html
    assert "Claims of A paper, redone" in html
    assert ">What the paper says<" in html


def test_an_unknown_claim_is_refused_with_the_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--only: 'large' is not allowed; allowed: small"):
        paper(tmp_path / "marks", [1.0]).only(["large"])


def test_claims_name_experiments_findings_and_sections() -> None:
    names: dict[str, object] = {}
    for known in PAPERS.values():
        experiments = {experiment.name: experiment for experiment in known.experiments}
        for name, experiment in experiments.items():
            assert names.setdefault(name, experiment) is experiment
            assert experiment.section in known.sections
        for summary in known.summaries:
            assert set(summary.reads) <= set(experiments)
            assert summary.section in known.sections
        analyses = {*experiments, *(summary.name for summary in known.summaries)}
        ids = [claim.id for claim in known.claims]
        assert len(ids) == len(set(ids))
        for claim in known.claims:
            assert claim.analysis in analyses
            assert claim.section in known.sections


def test_papers_are_named_in_the_help_and_wrong_calls_refused(call: Call) -> None:
    listed = call("reproduce", "--help").out
    assert f"sister paper: {', '.join(PAPERS)}" in " ".join(listed.split())
    wrong = call("reproduce", "--paper", "nope")
    assert wrong.code == 2
    assert f"--paper: 'nope' is not allowed; allowed: oocr, {', '.join(PAPERS)}" in wrong.err
    words = ("reproduce", "--paper", "ocr", "--only", "toy-implies", "--model", "gemma-3-270m")
    assert "asks no language model" in call(*words).err
    both = call("reproduce", "--model", "a", "--model", "b")
    assert "--paper oocr takes one model" in both.err


def test_a_model_that_is_not_there_is_refused_before_anything_is_computed(
    call: Call, tmp_path: Path
) -> None:
    nowhere, out = tmp_path / "nowhere", tmp_path / "runs"
    refused = call("reproduce", "--paper", "ocr", "--quick", "--model", nowhere, "--out", out)
    assert refused.code == 2
    assert f"--model: {str(nowhere)!r}" in refused.err
    assert not out.exists()
