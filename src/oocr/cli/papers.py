"""`oocr reproduce --paper NAME`: a paper's missing cells, its verdicts, and its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from oocr.cli.run import print_plain
from oocr.errors import InputError
from oocr.io import key_of, write_json
from oocr.output_checks import check_output
from oocr.papers import PAPERS
from oocr.papers.execute import run_paper
from oocr.papers.paper import Paper, PaperSettings


def reproduce_paper(
    name: str,
    *,
    models: Sequence[str],
    quick: bool,
    only: Sequence[str],
    out: Path,
    workers: int | None,
    command: str,
) -> Path:
    """Compute what is missing for a paper's claims; print verdicts and the path of the page."""
    from oocr.report.papers_page import build_paper_page
    from oocr.report.terminal import claims_table

    check_output(out, folder=True)
    paper = _paper(name).only(only)
    if models and not paper.uses_models:
        asked = f" --only {' '.join(only)}" if only else ""
        raise InputError(f"--model: --paper {name}{asked} asks no language model")
    settings = PaperSettings(quick=quick, **({"models": tuple(models)} if models else {}))
    console, words = Console(), _command_words(name, models, out, quick=quick)
    try:
        results = run_paper(paper, settings, out, console=console, command=words, workers=workers)
    except InputError as error:
        raise InputError(f"--model: {error}") if models else error from error
    order = [claim.id for claim in paper.claims]
    verdicts = [verdict for result in results for verdict in result.verdicts]
    verdicts.sort(key=lambda verdict: order.index(verdict.id))
    console.print(claims_table(verdicts))  # print first: the disk may be full
    key = key_of(sorted(only), [cell.key for result in results for cell in result.cells])[:8]
    page = out / f"reproduce-{name}-{key}" / "report.html"
    write_json(page.parent / "claims.json", [verdict.model_dump() for verdict in verdicts])
    build_paper_page(paper, results, page, command=command)
    print_plain(console, f"\nreport: {page}")
    return page


def _paper(name: str) -> Paper:
    if name not in PAPERS:
        allowed = ", ".join(["oocr", *PAPERS])
        raise InputError(f"--paper: {name!r} is not allowed; allowed: {allowed}")
    return PAPERS[name]


def _command_words(name: str, models: Sequence[str], out: Path, *, quick: bool) -> list[str]:
    """The command that gives the same verdicts."""
    words = ["oocr", "reproduce", "--paper", name]
    for model in models:
        words += ["--model", model]
    words += [] if out == Path("runs") else ["--out", str(out)]
    return words + (["--quick"] if quick else [])
