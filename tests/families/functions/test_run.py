"""The Functions task: a whole tiny run with free answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from oocr.models.language_model import LanguageModel
from oocr.models.load import read_model
from oocr.report.run_page import build_report
from oocr.runs.config import RunConfig
from oocr.runs.run import run
from tests.tiny.runs import claims_of, rows_of, save_tiny_model, tiny_settings


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LanguageModel]:
    path = save_tiny_model(tmp_path_factory.mktemp("functions") / "model")
    return path, read_model(path)


@pytest.fixture(scope="module")
def done(
    model: tuple[Path, LanguageModel], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any, LanguageModel]:
    task = {
        "family": "functions",
        "mode": "single",
        "form": "raw",
        "functions": ["iaftvb", "bzolqm"],
        "validation": ["noadgc"],
        "rows": 100,
        "questions": 2,
    }
    settings = tiny_settings(model[0], task)
    settings["name"] = "functions"

    config = RunConfig.model_validate(settings)
    return run(config, model[1], tmp_path_factory.mktemp("runs")), config, model[1]


def test_a_run_asks_reported_arms_and_base_their_free_questions(
    done: tuple[Path, Any, LanguageModel],
) -> None:
    folder, _, _ = done
    rows = rows_of(folder)
    free = rows.filter(pl.col("part").is_in(["free", "free_in_context"]))
    assert set(free["arm"].unique()) == {"base", "vector", "adapter"}
    assert free["control"].unique().to_list() == [""]
    assert free["final"].all()
    counts = free.group_by("arm", "member", "seed", "part").len()
    per_part = {(line["part"], line["len"]) for line in counts.iter_rows(named=True)}
    assert per_part == {("free", 4), ("free_in_context", 2)}
    assert set(free.filter(arm="vector")["seed"].unique()) == {0, 1}
    assert free["rank"].null_count() == free.height
    assert free["chosen"].null_count() == 0
    for arm in ("vector", "adapter"):
        assert free.filter(arm=arm)["layer"].null_count() == 0
    assert set(rows.filter(part="paper")["facet"]) == {"which option describes it"}
    (claim,) = [c for c in claims_of(folder) if c.id == "vector-free-answers"]
    out = free.filter(arm="base", part="free")["right"].cast(pl.Float64).mean()
    assert claim.base is not None
    assert 0 <= claim.base <= 1
    assert (claim.base > 0) is (out != 0)
    selection = json.loads((folder / "selection.json").read_text())
    assert "loss" in selection["criterion"]


def test_free_answers_are_kept_and_the_report_shows_them(
    done: tuple[Path, Any, LanguageModel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, config, model = done
    before = rows_of(folder)
    kept = sorted(path.name for path in (folder / "arms").glob("*-free"))
    assert len(kept) == 1 + 2 * 2 * 2, "the base, two arms of two members and two seeds"

    def never(*_: Any, **__: Any) -> list[str]:
        raise AssertionError("asked again")

    monkeypatch.setattr("oocr.runs.controls._free", never)
    assert run(config, model, folder.parent) == folder
    assert rows_of(folder).equals(before)
    page = build_report([folder], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "definition as a lambda (own words)" in page
    assert "in its own words what it was never told" in page
