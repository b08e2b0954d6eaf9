"""Runs kept for the page of sizes: numbers, answers and curves of a finished run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
from benchmarks.sizes import __main__ as command
from benchmarks.sizes.curves import curves
from benchmarks.sizes.keep import keep
from benchmarks.sizes.records import kept_runs, read
from benchmarks.sizes.sentences import sentences

from oocr import stats
from oocr.errors import InputError
from oocr.evals.free_text import free_rows
from oocr.evals.scores import select_rows
from oocr.families.registry import build
from oocr.runs.config import RunConfig
from oocr.runs.folder import RunFolder
from tests.cli.test_sizes import kept_set, run
from tests.report.fake_run import fake_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fake_run(tmp_path_factory.mktemp("finished") / "run", members=4, seeds=2)
    config = RunConfig.model_validate({"task": {"family": "countries"}})
    (folder / "config.yaml").write_text(config.yaml())
    return folder


def test_a_kept_run_has_the_numbers_of_the_run(finished: Path, tmp_path: Path) -> None:
    path = keep(finished, tmp_path)
    kept, source = read(path), RunFolder(finished)
    assert re.fullmatch(r"countries-fake-model-0m-[0-9a-f]{8}\.json", path.name)
    assert path.stat().st_size < 20_000
    assert [c.id for c in kept.claims] == [c.id for c in source.claims]
    assert kept.claims[0].found.value == pytest.approx(source.claims[0].found.value, rel=1e-4)
    assert kept.seconds == pytest.approx(139.95, abs=0.1)
    assert (kept.members, kept.seeds) == (4, 2)
    assert source.rows is not None
    scoring = source.info.scoring
    for part in ("probes", "in_context"):
        cells = scoring.score(select_rows(source.rows, "vector", part=part))
        shown = kept.score(part, "vector")
        assert cells is not None
        assert shown is not None
        assert shown.value == pytest.approx(stats.mean(cells), rel=1e-4)
    # Of four members with three continuations each, the first two; of no other arms.
    first = [shown for place, shown in enumerate(source.examples) if place % 3 < 2]
    assert [said.prompt for said in kept.sentences] == [shown.prompt for shown in first]
    assert [said.member for said in kept.sentences] == [shown.member for shown in first]
    assert set(kept.sentences[0].answers) == {"base", "vector", "adapter"}
    assert keep(finished, tmp_path) == path


def test_free_answers_are_kept_with_their_questions(finished: Path, tmp_path: Path) -> None:
    task = {"family": "functions", "mode": "single", "form": "raw", "questions": 2, "rows": 100}
    named = {"functions": ["iaftvb", "rqmubo"], "validation": ["yubxel"]}
    config = RunConfig.model_validate({"task": {**task, **named}})
    (tmp_path / "config.yaml").write_text(config.yaml())
    (tmp_path / "run.json").write_bytes((finished / "run.json").read_bytes())
    frames = []
    for test in build(config.task, tmp_path).test:
        items = [item for item in test.free if item.tags.get("part") != "in-context"]
        for arm, seed, text in (("base", None, "y"), ("vector", 0, "x + 5"), ("vector", 1, "x")):
            columns = {"arm": arm, "seed": seed, "member": test.member, "part": "free"}
            columns |= {"control": "", "final": True}
            frames.append(free_rows(items, [text] * len(items), columns))
    said = sentences(RunFolder(tmp_path), pl.concat(frames, how="diagonal_relaxed"))
    assert {answer.member for answer in said} == {"iaftvb", "rqmubo"}
    assert said[0].prompt.endswith("iaftvb = lambda x:")
    assert said[0].expected == "x + 5"
    assert said[0].answers == {"base": "y", "vector": "x + 5"}  # of the first seed
    assert said[0].right == {"base": False, "vector": True}
    assert not said[-1].right["vector"]


def test_curves_are_the_scores_at_each_step_and_layer(finished: Path) -> None:
    source = RunFolder(finished)
    lines = {(c.kind, c.method, c.part, c.facet): c for c in curves(source)}
    assert source.rows is not None
    assert source.selection is not None
    vector = source.rows.filter(pl.col("arm") == "vector", pl.col("control") == "")
    line = lines["step", "vector", "probes", "language"]
    at = vector.filter(pl.col("step") == int(line.x[1]), pl.col("part") == "probes")
    cells = source.info.scoring.by_facet.score(at)
    assert cells is not None
    assert line.value[1] == pytest.approx(stats.mean(cells.only("language")), rel=1e-4)
    best = lines["validation", "vector", "", ""]
    assert dict(zip(best.x, best.value, strict=True))[4.0] == pytest.approx(
        max(p.score or 0 for p in source.selection.grid if (p.method, p.layer) == ("vector", 4)),
        rel=1e-4,
    )


def test_an_unfinished_run_is_refused(finished: Path, tmp_path: Path) -> None:
    info = json.loads((finished / "run.json").read_text())
    folder = tmp_path / "unfinished"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({**info, "complete": False}))
    with pytest.raises(InputError, match=r"unfinished: the run is not finished; `oocr run .*`"):
        keep(folder, tmp_path / "kept")
    with pytest.raises(SystemExit, match=r"^error: .*nowhere is not a run folder[^\n]*$"):
        command.main(["keep", str(tmp_path / "nowhere")])
    assert not (tmp_path / "kept").exists()


def test_a_file_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    known = run().model_dump(mode="json")
    path = tmp_path / "a.json"
    path.write_text(json.dumps(known))
    assert kept_runs(tmp_path) == [run()]
    path.write_text(json.dumps({**known, "verdicts": 3}))
    with pytest.raises(InputError, match=r"a\.json, field verdicts: .*keep the run again"):
        kept_runs(tmp_path)


def test_the_page_is_written_from_the_kept_files_alone(tmp_path: Path) -> None:
    for place, kept in enumerate(kept_set()):
        (tmp_path / f"{place}.json").write_text(kept.model_dump_json())
    stale = tmp_path / "figures" / "results-functions.svg"
    stale.parent.mkdir()
    stale.write_text("from a run that is gone")
    command.write_page(tmp_path, tmp_path / "results.md")
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    named = re.findall(r"\((figures/results-\w+\.svg)\)", text)
    assert named == ["figures/results-effect.svg", "figures/results-constant.svg"]
    assert all((tmp_path / name).is_file() for name in named)
    assert not stale.exists()


def test_no_runs_make_a_page_that_says_so(tmp_path: Path) -> None:
    command.write_page(tmp_path / "none", tmp_path / "results.md")
    assert "No run is kept yet" in (tmp_path / "results.md").read_text(encoding="utf-8")
