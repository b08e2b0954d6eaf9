"""Analyses that processes share: each measured once, in whichever process, and read by all."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.console import Console

from oocr.claims.page_claims import KeptAnalysis
from oocr.io import write_json
from oocr.leases import LEASE
from oocr.reproduce import execute as execute_module
from oocr.reproduce.execute import answer
from oocr.reproduce.plan import Plan, PlanPart
from oocr.runs.processes.executor import Executor
from tests.command_line import Call
from tests.work.one_process import OneProcess


def plan() -> Plan:
    """Claims that a run without an effect answers quickly, by three analyses."""
    part = PlanPart("countries", "tiny", ("tiny",))
    wanted: dict[str, str] = {}
    for claim in part.claims:
        wanted.setdefault(claim.analysis, claim.id)
    return Plan((), (part,), quick=True).only(list(wanted.values())[:3])


def test_each_analysis_is_measured_by_one_of_two(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(done, tmp_path / done.name))
    measured: list[str] = []
    analyse = execute_module.analyse

    def counted(finished: object, analysis: object) -> object:
        path = folder / "analyses" / f"{analysis.name}.json"  # type: ignore[attr-defined]
        if not path.is_file():
            measured.append(path.stem)
        return analyse(finished, analysis)  # type: ignore[arg-type]

    monkeypatch.setattr(execute_module, "analyse", counted)
    places: list[str] = []
    begin = Executor.submit

    def submit(self: Executor, label: str, *job: object) -> object:
        places.append(str(job[-1]))
        return begin(self, label, *job)  # type: ignore[arg-type]

    monkeypatch.setattr(Executor, "submit", submit)

    def shared() -> list[object]:
        named = {"tiny": folder}
        return list(answer(plan(), named, console=Console(quiet=True), again=["x"], lease=5.0))

    with ThreadPoolExecutor(2) as pool:
        first, second = (future.result() for future in [pool.submit(shared) for _ in range(2)])
    assert sorted(measured) == sorted(set(measured))
    assert len(measured) > 1
    assert [set(part.analyses) for part in first] == [set(part.analyses) for part in second]
    assert not list(tmp_path.rglob("*.claim"))
    assert "0" in places, "a process stays with a part, whose analyses share recordings"


def test_what_cannot_be_shared_is_refused(call: Call) -> None:
    assert "leave out --shared" in call("reproduce", "--shared", "--judge", "m").err
    assert "not of --paper ocr" in call("reproduce", "--shared", "--paper", "ocr").err


def test_an_engine_is_sent_the_command_and_shows_the_page(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, page = OneProcess(monkeypatch), tmp_path / "reproduce-1" / "report.html"
    leases: list[float | None] = []

    def run_plan(plan: Plan, configs: object, *, lease: float | None, **_: object) -> Path:
        leases.append(lease)
        (claim,) = plan.parts[0].claims
        none = KeptAnalysis(name=claim.analysis, key="", model="m", missing="none")
        kept = claim.judge(none, "countries", "tiny", "x")
        write_json(page.parent / "claims.json", [kept.model_dump()])
        return page

    monkeypatch.setattr("oocr.cli.reproduce.run_plan", run_plan)
    words = ("--only", "naive-works", "--quick", "--workers", 3, "--out", tmp_path)
    code, out, err = call("reproduce", *words, "--ray", "auto")
    assert (code, err, leases) == (0, "", [LEASE])
    assert "cannot be tested" in out
    assert out.endswith(f"report: {page}\n")
    (work,) = engine.works
    assert work.most == 3
    assert "reproduce-quick-countries" in work.runs
    assert "not of --paper ocr" in call("reproduce", "--ray", "auto", "--paper", "ocr").err
    assert "leave out --ray" in call("reproduce", "--ray", "auto", "--judge", "m").err
