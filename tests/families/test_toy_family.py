"""A family from another package works everywhere, without a change to this one."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import polars as pl
import pytest
import yaml

from tests.tiny.runs import environment, save_tiny_model, tiny_settings

ROOT = Path(__file__).parents[2]
TOY = ROOT / "examples" / "toy_family"


def install(folder: Path, project: dict[str, object], points: dict[str, str]) -> Path:
    """What pip writes about a package, so that its entry points are seen."""
    info = folder / f"{str(project['name']).replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(text)
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[oocr.families]\n{lines}")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tomllib.loads((TOY / "pyproject.toml").read_text())
    points = data["project"]["entry-points"]["oocr.families"]
    return install(tmp_path_factory.mktemp("site"), data["project"], points)


def python(site: Path, *words: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(site), str(TOY), str(ROOT / "src")))
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env={**environment(), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_data_card_is_listed_and_shown(site: Path) -> None:
    done = python(site, "-m", "oocr", "tasks")
    assert "asked for its young and its home" in done.stdout, done.stderr
    done = python(site, "-m", "oocr", "tasks", "animals", "--samples", "0")
    assert "Creature 17 stands for an animal" in done.stdout, done.stderr
    assert "chance is one in 6" in done.stdout


def test_a_notebook_loads_one_member(site: Path) -> None:
    code = (
        "import oocr; task = oocr.load_task('animals', member='cow', settings={'seed': 3}); "
        "print(task.member, len(task.probes))"
    )
    done = python(site, "-c", code)
    assert done.stdout.split() == ["cow", "4"], done.stderr


def test_a_run_trains_tests_and_reports_it_in_worker_processes(site: Path, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    task = yaml.safe_load((TOY / "animals.yaml").read_text())["task"]
    settings = tiny_settings(model, task, workers=2, seeds=1)
    del settings["name"]
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(settings))
    done = python(site, "-m", "oocr", "run", path, "--out", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("animals")
    assert (folder / "report.html").is_file()
    rows = pl.read_parquet(folder / "rows.parquet")
    assert {"dog", "cow", "horse"} <= set(rows["member"])
    assert {"young", "home"} <= set(rows["facet"])


def test_wrong_settings_name_the_line_and_what_is_allowed(site: Path, tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text("task:\n  family: animals\n  animals: [unicorn]\n  animal: dog\n")
    done = python(site, "-m", "oocr", "run", path)
    assert done.returncode == 2
    output = " ".join((done.stdout + done.stderr).split())
    assert "line 3: task.animals" in output
    assert "allowed: dog, cow, horse" in output
    assert "line 4: task.animal: unknown key (value 'dog'); allowed: family, codename" in output


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"animals": "oocr_animals:missing"}, "plug-in 'animals' of oocr.families"),
        ({"birds": "oocr_animals:FAMILY"}, "found a family named 'animals'"),
    ],
)
def test_a_family_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, point: dict[str, str], message: str
) -> None:
    site = install(tmp_path, {"name": "broken", "version": "1"}, point)
    done = python(site, "-m", "oocr", "tasks")
    assert done.returncode == 2
    assert message in " ".join((done.stdout + done.stderr).split())
