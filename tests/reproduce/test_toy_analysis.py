"""An analysis that another package brings: its claim is judged and its figure is on the page."""

from __future__ import annotations

import json
from pathlib import Path

from tests.installed_package import install, python

ANALYSIS = """
from oocr.charts.bars import bars_panel
from oocr.charts.figure import figure_of
from oocr.claims.rules import stays_below
from oocr.reproduce.analysis import Analysis, AnalysisResult
from oocr.reproduce.claims import OURS, PaperClaim
from oocr.reproduce.scoring import measured


def steps(finished):
    arms = [arm for run in finished.runs for arm in run.arms]
    values = {(arm.member, place): float(arm.stop_step) for place, arm in enumerate(arms)}
    rows = [{"arm": arm.id, "steps": float(arm.stop_step)} for arm in arms]
    return AnalysisResult([measured("steps", "steps of training", values)], rows)


def steps_figure(tables):
    panels = [
        bars_panel(table["arm"], [("steps", "vector", table["steps"])], "steps", title=name)
        for name, table in tables.items()
    ]
    return figure_of("toy-steps", "How long arms were trained.", panels, tables)


CLAIM = PaperClaim(
    "few-steps",
    OURS,
    "How long it takes",
    "Training takes few steps",
    "a toy",
    "toy-steps",
    "steps",
    stays_below(50, 100),
    subjects=("countries",),
)
STEPS = Analysis("toy-steps", steps, "How long it takes", steps_figure, claims=(CLAIM,))
"""

REPRODUCE = """
import sys
from pathlib import Path

from rich.console import Console

from oocr.report.reproduce_page import build_page
from oocr.reproduce.execute import answer
from oocr.reproduce.plan import Plan, PlanPart

plan = Plan((), (PlanPart("countries", "a tiny task", ("tiny",)),)).only(["few-steps"])
results = answer(plan, {"tiny": Path(sys.argv[1])}, console=Console(), again=["oocr", "reproduce"])
build_page(results, Path(sys.argv[2]), command="oocr reproduce")
"""


def test_a_package_adds_an_analysis_with_its_claim_and_figure(copy: Path, tmp_path: Path) -> None:
    points = {"oocr.analyses": {"toy": "toy_analysis:STEPS"}}
    packages = install(tmp_path / "packages", "toy_analysis", points)
    (packages / "toy_analysis.py").write_text(ANALYSIS, encoding="utf-8")
    page = tmp_path / "page" / "report.html"
    done = python("-c", REPRODUCE, copy, page, path=(packages,))
    assert done.returncode == 0, done.stderr
    kept = json.loads((copy / "analyses" / "toy-steps.json").read_text(encoding="utf-8"))
    (finding,) = kept["findings"]
    assert finding["id"] == "steps"
    assert 0 < finding["found"]["value"] < 50
    html = page.read_text(encoding="utf-8")
    assert 'id="claim-few-steps"' in html
    assert "Training takes few steps" in html
    assert "figure-toy-steps" in html
    assert (page.parent / "figures" / "toy-steps.parquet").is_file()
