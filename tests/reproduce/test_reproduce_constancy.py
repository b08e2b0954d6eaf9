"""Constancy by token group is one number: in a notebook, in a run, on the page of the claims."""

from __future__ import annotations

from dataclasses import asdict, replace

import polars as pl
import pytest

import oocr
from oocr.data.examples import Example
from oocr.data.tokens import encode_prompt
from oocr.reproduce.analyses.geometry import grouped
from oocr.reproduce.finished_runs import FinishedRuns, read_finished
from oocr.runs.context import RunContext
from oocr.tasks.task import Task
from tests.tiny.runs import Tiny


def test_notebook_run_and_analysis_give_the_same_numbers(
    tiny: Tiny, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = tiny.config(controls={"random_directions": 0, "trained": False})
    folder = tiny.run(tmp_path_factory.mktemp("constancy"), config)
    run = read_finished(folder)
    context = RunContext(tiny.model, run.config.starts, run.config.batch_lines)
    finished = FinishedRuns("tiny", (run,), context, {})
    written = pl.read_parquet(folder / "constancy.parquet").filter(pl.col("kind") == "adapter")
    shown = grouped(finished).table
    assert shown is not None
    assert len(finished.adapters) == 2
    for (member, seed), adapter in finished.adapters.items():
        measured = oocr.explain.constancy(finished.model, adapter, finished.task(member))
        rows = written.filter(pl.col("member") == member, pl.col("seed") == seed)
        assert rows["tokens"].to_list() == list(measured)
        for row in rows.iter_rows(named=True):
            group = measured[row["tokens"]]
            assert {name: row[name] for name in asdict(group)} == pytest.approx(asdict(group))
            assert row["to_span"] == pytest.approx(measured.to_span[row["tokens"]])
        (page,) = shown.filter(pl.col("member") == member, pl.col("seed") == seed).iter_rows(
            named=True
        )
        assert page["one"] == pytest.approx(measured.shares.common)
        assert page["grouped"] == pytest.approx(measured.shares.grouped)
        # Of a group's energy the common mean carries at most what the group's own mean does.
        for name, group in measured.items():
            assert page[f"by {name}"] == pytest.approx(measured.shares.by_group[name])
            assert page[f"by {name}"] <= group.energy + 1e-9


def test_a_prompt_is_read_once_and_the_tokens_at_the_positions_are_the_span(tiny: Tiny) -> None:
    spans = {"codename": "Country 4821"}
    capital, speak = (
        Example(id=text, prompt=text, answer=" Paris", spans=spans)
        for text in ("The capital of Country 4821 is", "people in Country 4821 speak")
    )
    task = Task(
        name="t",
        member="m",
        train=(capital, replace(capital, id="again", answer=" Tokyo")),
        probes=(speak, capital),
        positions=("codename",),
    )
    spec = oocr.LowRankAdapter(layers=(1,), rank=2)
    adapter = oocr.train(tiny.model, task, spec, steps=2, learning_rate=0.03)
    by_span = oocr.explain.constancy(tiny.model, adapter, task)
    tokens = len(encode_prompt(tiny.model.tokenizer, capital.prompt, spans).spans["codename"])
    assert by_span["span"].n == 2 * tokens
    at_last = oocr.explain.constancy(tiny.model, adapter, task, positions="last")
    assert at_last["span"].n == 2
    with pytest.raises(oocr.InputError, match="'verb' select no token"):
        oocr.explain.constancy(tiny.model, adapter, task, positions="verb")
    assert "other prompt tokens" in by_span._repr_html_()
