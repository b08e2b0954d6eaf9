"""Answers that tie with other options are shown: in the terminal, on the page, in a notebook."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from oocr.cli.run import show_run
from oocr.evals.score_table import ties
from tests.report.report_page import page_of

WORDS = "answers that tie with other options, counted as not right: vector 2"


def test_ties_are_counted_and_shown(
    countries: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(countries, run)
    rows = pl.read_parquet(run / "rows.parquet")
    final = rows.with_row_index().filter("final", arm="vector", control="")
    tied = final["index"].head(2).to_list()
    rows = rows.with_columns(tied=pl.int_range(pl.len()).is_in(tied))
    rows.write_parquet(run / "rows.parquet")
    assert ties(rows) == {"vector": 2}
    show_run(run)
    assert WORDS in capsys.readouterr().out
    assert WORDS.capitalize() in page_of(run, out=tmp_path / "page").text
    rows.with_columns(tied=False).write_parquet(run / "rows.parquet")
    show_run(run)
    assert "tie with" not in capsys.readouterr().out
