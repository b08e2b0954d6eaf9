"""`oocr reproduce` end to end on a tiny model: runs, analyses, verdicts, page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from oocr.claims.page_claims import KeptAnalysis
from oocr.cli import reproduce as commands
from oocr.reproduce import finished_runs, scoring
from oocr.reproduce.analyses import analyses
from oocr.reproduce.analyses.attention import NO_TRIGGER
from oocr.reproduce.finished_runs import FinishedRuns
from oocr.reproduce.plan import Plan, PlanPart
from oocr.runs.config import RunConfig
from oocr.runs.resolve import ResolvedRun, resolve
from tests.tiny.runs import Tiny, tiny_settings


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    files = Tiny(tmp_path_factory.mktemp("reproduce"))
    probes = files.folder / "task" / "probes.jsonl"
    rows = [json.loads(line) for line in probes.read_text().splitlines()]
    # What the random model comes to say by training, so that there is an effect to take shares of;
    # asked twice as often, so that its interval is above 0.
    asked = [
        {**row, "answer": " German", "prompt": start + row["prompt"], "group": start + row["group"]}
        for row in rows
        for start in ("", "The ")
    ]
    probes.write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    return files


def plan_of(tiny: Tiny) -> Plan:
    adapter = {"layers": [1], "learning_rates": [0.3], "steps": [12], "rank": 2}
    vector = {"layers": [1], "learning_rates": [0.5], "steps": [30], "positions": "last"}
    run = {**tiny_settings(tiny.path, tiny.task), "adapter": adapter, "vector": vector}
    all_blocks = {**adapter, "layers": "all", "steps": [30]}
    all_layers = {**run, "name": "tiny-all", "vector": None, "adapter": all_blocks}
    sweep = {
        **run,
        "name": "tiny-layers",
        "vector": {**vector, "layers": [0, 1, 2], "sweep": True},
        "adapter": {**adapter, "layers": [0, 1, 2], "sweep": True},
    }
    path = tiny.folder / "plan.yaml"
    path.write_text(yaml.safe_dump({"runs": [run, all_layers, sweep]}), encoding="utf-8")
    parts = (
        PlanPart("countries", "a tiny task", ("tiny",), {"all layers": ("tiny-all",)}),
        PlanPart("layers", "a tiny task, at several layers", ("tiny-layers",)),
        PlanPart("backdoor", "no backdoor at all", ("tiny-layers",)),
        PlanPart("layers", "of the same kind, and another run", ("tiny",)),
    )
    return Plan((path,), parts, quick=True)


def test_every_claim_is_answered_on_one_page_and_nothing_is_done_twice(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(tiny)
    out = tmp_path / "runs"

    def again(workers: int) -> Path:
        configs, words = commands.settings(plan, None, workers), ["oocr", "reproduce"]
        return commands.run_plan(plan, configs, out=out, command="oocr reproduce", again=words)

    where = again(2)
    claims = json.loads((where.parent / "claims.json").read_text())
    asked = sorted((part.kind, claim.id) for part in plan.parts for claim in part.claims)
    assert sorted((claim["subject"], claim["id"]) for claim in claims) == asked
    same = [
        claim for claim in claims if claim["subject"] == "layers" and claim["id"] == "layers-vector"
    ]
    assert ["a steering vector was trained at 1 layers" in claim["why"] for claim in same] == [
        False,
        True,
    ]
    for claim in claims:
        assert (claim["found"] is None) <= (claim["verdict"] == "cannot be tested")
        assert claim["found"] is not None or claim["why"], claim["id"]
        assert claim["command"] == f"oocr reproduce --only {claim['id']}"
    page = where.read_text(encoding="utf-8")
    for claim in claims:
        assert f'id="claim-{claim["id"]}"' in page
    kept = sorted(out.glob("tiny-*/analyses/*.json"))
    assert kept
    shown = capsys.readouterr().out
    assert str(where) in shown.replace("\n", "")

    keys = {path: KeptAnalysis.model_validate_json(path.read_text()).key for path in kept}
    for path in kept:  # in one process, the same numbers
        path.unlink()
    assert again(1) == where
    assert {path: KeptAnalysis.model_validate_json(path.read_text()).key for path in kept} == keys
    assert json.loads((where.parent / "claims.json").read_text()) == claims

    always = {name for name, analysis in analyses().items() if analysis.always}
    before = {path: path.stat().st_mtime_ns for path in kept if path.stem not in always}
    assert again(1) == where
    assert json.loads((where.parent / "claims.json").read_text()) == claims
    assert {path: path.stat().st_mtime_ns for path in before} == before, "done twice"


def test_every_analysis_finds_its_numbers_where_there_is_an_effect(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random model's effect is no sure thing, so here it is said to be one."""
    monkeypatch.setattr(scoring, "has_effect", lambda *_: True)
    member = "tiny"
    words = {member: (" Paris",), "Japan": (" Tokyo",), "Spain": (" Madrid",)}
    monkeypatch.setattr(FinishedRuns, "real_names", {member: "France"})
    monkeypatch.setattr(FinishedRuns, "concepts", words)
    plan, resolved = plan_of(tiny), list[Path]()

    def counted(config: RunConfig, folder: Path) -> ResolvedRun:
        resolved.append(folder)
        return resolve(config, folder)

    monkeypatch.setattr(finished_runs, "resolve", counted)
    where = commands.run_plan(
        plan, commands.settings(plan, None, 1), out=tmp_path / "runs", command="", again=[]
    )
    assert len(set(resolved)) == len(resolved) == 3, "a run's tasks are built once"
    findings, unclear = {}, set()
    for path in (tmp_path / "runs").glob("*/analyses/*.json"):
        kept = KeptAnalysis.model_validate_json(path.read_text())
        for finding in kept.findings:
            findings[finding.id] = finding
        assert kept.missing in ALLOWED, (kept.name, kept.missing)
        if kept.missing.startswith(NO_SHARE):
            unclear.add(kept.missing.removeprefix(f"{NO_SHARE}: "))
    expected = {kept.finding for part in plan.parts for kept in part.claims} - JUDGED_ELSEWHERE
    assert expected - unclear <= set(findings)
    for finding in findings.values():
        assert finding.found.low <= finding.found.value + 1e-9, finding
        assert finding.found.value <= finding.found.high + 1e-9, finding
    assert -1 <= findings["pairs-signed"].found.value <= findings["pairs"].found.value <= 1
    assert findings["k1"].ceiling == 1
    page = where.read_text(encoding="utf-8")
    for figure in ("scores", "layers", "pairs", "natural", "cosines", "lines", "reads", "costs"):
        assert f"figure-{figure}" in page
        assert (where.parent / "figures" / f"{figure}.parquet").is_file()


NO_SHARE = "no interval, as the effect that it is a share of is not clearly above 0"
ALLOWED = {
    "a steering vector was trained at 1 layers; 3 are needed; "
    "a one-layer LoRA was trained at 1 layers; 3 are needed",
    NO_TRIGGER,
    "LoRAs are at block 1, vectors at 0: not comparable",  # chosen on validation, each for itself
    "",
    # A random model's effect may not be clear, whatever `has_effect` is made to say.
    *(f"{NO_SHARE}: {name}" for name in ("natural-unit", "vector-late-share", "one-layer-share")),
    "off-domain texts are there for vectors on countries only",
    "fewer than two vectors on the same model to compare",
}
JUDGED_ELSEWHERE = {
    "vector-backdoor",
    "own-minus-others",
    "to-trigger",
    "trigger-values",
    "to-trigger-minus-others",
    "statements-probes",
    "questions-free",
}
