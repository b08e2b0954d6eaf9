"""Samples in tokens: kept by a run, and marked on its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oocr.report.sample_view import directions_in, page_token
from oocr.runs.folder import RunFolder
from oocr.runs.records import Sample
from tests.report.fake_run import fake_run
from tests.report.report_page import SMALL, page_of
from tests.tiny.runs import Tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny task with a vector only."""
    tiny = Tiny(tmp_path_factory.mktemp("home"))
    none = {"random_directions": 0, "trained": False}
    return tiny.run(tiny.folder / "runs", tiny.config(adapter=None, seeds=1, controls=none))


def test_a_run_keeps_rows_and_questions_with_what_each_token_is_for(folder: Path) -> None:
    kept = [
        Sample.model_validate(sample)
        for sample in json.loads((folder / "samples.json").read_text())
    ]
    assert [byte.part for byte in kept] == ["training"] * 2 + ["probe"] * 2
    row, question = kept[0], kept[-1]
    assert "".join(token.text for token in row.tokens if token.loss).strip() in {"Paris", "Tokyo"}
    assert "".join(token.text for token in row.tokens if token.steered) == " Country 4821"
    assert not row.expected
    assert question.expected == " Japanese"
    assert not any(token.loss or token.answer for token in question.tokens)
    assert "".join(token.text for token in question.tokens if token.steered) == " Country 4821"


def test_the_page_marks_them(folder: Path) -> None:
    page = page_of(folder, out=folder / "report.html")
    assert "What is trained, and where the vector acts" in page.text
    steered = [a for a in page.of_class("steered") if "title" in a]
    assert {str(a["title"]) for a in steered} == {"steered (codename)"}
    assert len(steered) == 8, "two tokens in each of four samples"
    assert [a for a in page.of_class("loss") if a.get("title") == "bears loss"]


def test_runs_without_samples_have_no_such_section(tmp_path: Path) -> None:
    plain = fake_run(tmp_path, "countries", **SMALL)
    assert not RunFolder(plain).samples
    assert "data" not in page_of(plain, out=plain / "report.html").sections()


def test_joined_directions_have_colours_of_their_own_and_texts_stay_texts(tmp_path: Path) -> None:
    run = fake_run(tmp_path, "countries", **SMALL)

    def token(text: str, steered: str = "", **flags: bool) -> dict[str, object]:
        return {"text": text, "steered": steered, "answer": False, "loss": False} | {
            "special": False,
            **flags,
        }

    tokens = [
        token("<bos>", special=True),
        token("<script>alert(1)</script>\n\x1b", "paris"),
        token(" b", "tokyo"),
        token(" both", "paris+tokyo"),
        token(" Paris", answer=True, loss=True),
        token(" later", answer=True),
    ]
    sample = {"part": "training", "facet": "f", "member": "m", "tokens": tokens, "expected": ""}
    (run / "samples.json").write_text(json.dumps([sample]), encoding="utf-8")
    samples = RunFolder(run).samples
    directions = directions_in(samples)
    assert directions == ["paris", "tokyo"]
    shown = [page_token(token, directions) for token in samples[0].tokens]
    assert [kind for _, kind, _ in shown] == [
        "faint",
        "steered steered-0",
        "steered steered-1",
        "steered steered-0",
        "loss",
        "faint",
    ]
    assert shown[1][0] == ["<script>alert(1)</script>⏎", "\\x1b"]
    page = page_of(run, out=run / "report.html")
    assert "alert(1)" not in "".join(page.scripts)
    assert "<script>alert(1)" in page.text
