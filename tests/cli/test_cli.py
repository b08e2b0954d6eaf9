"""The command line: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from oocr.cli import run as command
from oocr.errors import RunError
from oocr.families.registry import FAMILIES
from oocr.models.sources.bundled import BUNDLED, FetchedModel, PackagedModel
from oocr.runs.read_config import BUILTIN, load_configs
from tests.command_line import Call
from tests.tiny.runs import claims_of, environment, oocr, rows_of, write_tiny_run, write_yaml


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, a tiny task and `run.yaml`; not to be changed."""
    home = tmp_path_factory.mktemp("home")
    write_tiny_run(home, seeds=1, explain={"neutral_tokens": 8, "examples": 1})
    return home


HEAVY = ("torch", "transformers", "polars", "numpy", "plotly")


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["tasks", "--template"]])
def test_help_is_there_without_the_heavy_imports(words: list[str]) -> None:
    code = (
        "import sys; from oocr.cli.main import main\n"
        f"sys.argv = ['oocr', *{words!r}]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print('heavy:', heavy, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    heavy = done.stderr.strip()
    assert heavy == "heavy: []" if "--help" in words else "torch" not in heavy
    assert ("Train, test and explain" if "--help" in words else "family: custom") in done.stdout


def test_as_a_module_it_is_the_same_command() -> None:
    done = oocr("models")
    assert done.returncode == 0
    assert "gemma-3-270m" in done.stdout


def test_models_are_listed_with_their_licences(call: Call) -> None:
    ended = call("models")
    assert ended.code == 0
    for model in BUNDLED.values():
        (line,) = [row for row in ended.out.splitlines() if row.startswith(f"{model.name} ")]
        assert model.license in line
        assert model.locate() or model.install in ended.out


def test_a_model_that_is_not_here_is_listed_with_the_way_to_get_it(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oocr.models.gguf.conversion.converted_folder", lambda *_: None)
    for kind in (PackagedModel, FetchedModel):
        monkeypatch.setattr(kind, "locate", lambda self: [])
    ended = call("models")
    for model in BUNDLED.values():
        assert f"{model.name}: {model.install}" in ended.out


def test_tasks_and_built_in_runs_are_listed(call: Call) -> None:
    ended = call("tasks")
    assert ended.code == 0
    for name in (*FAMILIES, *BUILTIN):
        assert name in ended.out


@pytest.mark.parametrize("name", ["countries", "backdoor", "risk", "persona"])
def test_a_tasks_data_card_and_items_are_shown(call: Call, name: str) -> None:
    ended = call("tasks", name)
    assert ended.code == 0
    assert "training" in ended.out
    assert "probes" in ended.out
    assert ended.out.count("→") >= 12
    for config in load_configs(name):
        assert config.name in ended.out


def test_a_task_of_ones_own_is_shown(call: Call, home: Path) -> None:
    ended = call("tasks", home / "run.yaml")
    assert ended.code == 0
    assert "The capital of‹ Country| 4821› is« Paris»" in ended.out


def test_the_template_is_yaml(call: Call) -> None:
    ended = call("tasks", "--template")
    assert yaml.safe_load(ended.out)["task"]["family"] == "custom"


def test_a_run_ends_with_verdicts_a_report_and_how_to_do_it_again(
    call: Call, home: Path, tmp_path: Path
) -> None:
    ended = call("run", home / "run.yaml", "--out", tmp_path)
    assert ended.code == 0, ended.err
    assert "FutureWarning" not in ended.err
    assert "4 blocks" in ended.out
    (folder,) = tmp_path.iterdir()
    assert "a steering vector" in ended.out
    (report,) = [row for row in ended.out.splitlines() if row.startswith("report: ")]
    assert Path(report.removeprefix("report: ")).read_text(encoding="utf-8").startswith("<!")
    (again,) = [row for row in ended.out.splitlines() if row.startswith("again: ")]
    before = {path: path.stat().st_mtime_ns for path in (folder / "arms").iterdir()}
    rows, claims = rows_of(folder), claims_of(folder)
    ended = call(*shlex.split(again.removeprefix("again: "))[1:])
    assert ended.code == 0, ended.err
    assert {path: path.stat().st_mtime_ns for path in (folder / "arms").iterdir()} == before
    assert rows_of(folder).equals(rows)
    assert claims_of(folder) == claims

    (folder / "report.html").unlink()
    ended = call("show", folder)
    assert ended.code == 0
    assert (folder / "report.html").is_file()
    assert "a steering vector" in ended.out


def test_several_runs_have_one_report(call: Call, home: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load((home / "run.yaml").read_text())
    settings |= {"adapter": None, "controls": {"random_directions": 0, "trained": False}}
    runs = {"runs": [{**settings, "name": name} for name in ("one", "two")]}
    path = write_yaml(tmp_path / "both.yaml", runs)
    ended = call("run", path, "--out", tmp_path / "runs")
    assert ended.code == 0, ended.err
    folders = sorted(path.name.split("-")[0] for path in (tmp_path / "runs").iterdir())
    assert folders == ["both", "one", "two"]
    assert len([row for row in ended.out.splitlines() if row.startswith("again: ")]) == 2
    page = next((tmp_path / "runs").glob("both-*/report.html")).read_text(encoding="utf-8")
    assert "one" in page
    assert "two" in page


def test_a_layer_the_model_lacks_is_refused_with_file_and_line_before_any_run(
    call: Call, home: Path, tmp_path: Path
) -> None:
    settings = yaml.safe_load((home / "run.yaml").read_text())
    late = {**settings, "name": "late", "vector": {"layers": [9]}}
    path = write_yaml(tmp_path / "both.yaml", {"runs": [settings, late]})
    line = next(n for n, t in enumerate(path.read_text().splitlines(), 1) if t.strip() == "- 9") - 1
    ended = call("run", path, "--out", tmp_path / "runs")
    assert ended.code == 2
    assert ended.err.startswith(f"error: {path}: line {line}: vector.layers: 9 is not a block of ")
    assert ended.err.strip().endswith("allowed: -1 to 3")
    assert not (tmp_path / "runs").exists(), "not even the first run has begun"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layers", "2,7"], "error: --layers: vector.layers: 7 is not a block of "),
        (["--positions", "name"], "error: --positions: vector.positions: 'name' is not in this t"),
        (
            ["--seeds", "0"],
            "Invalid value for '--seeds': Input should be greater than or equal to 1",
        ),
        (["--workers", "0"], "Invalid value for '--workers'"),
        (
            ["--site", "mid"],
            "with --site mid: 1 wrong\n  vector.site: 'mid': Input should be 'block'",
        ),
        (["--model", "."], "--model: .: no config.json in this folder"),
        (["--arms", "lora"], "error: --arms: 'lora' is not allowed; allowed: vector, adapter"),
        (["--model", "./nowhere"], "error: --model: './nowhere': no such file or folder"),
        (["--seeds", "x"], "Invalid value for '--seeds'"),
        (["--lairs", "2"], "No such option"),
    ],
)
def test_options_that_do_not_do_are_refused(
    call: Call, home: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    ended = call("run", home / "run.yaml", "--out", tmp_path, *words)
    assert ended.code == 2
    assert message in ended.err
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_is_refused(call: Call, tmp_path: Path) -> None:
    assert "did you mean 'countries'" in call("run", "country").err
    assert "did you mean 'backdoor'" in call("tasks", "bakdoor").err
    ended = call("show", tmp_path)
    assert ended.code == 2
    assert "not the folder of a finished run (no claims.json)" in ended.err
    (tmp_path / "claims.json").write_text("nonsense")
    assert call("show", tmp_path).code in (1, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected keys and values (task: …), found an empty file"),
        ("task: [", "line 1: not valid YAML: "),
        ("task: {family: countrys}", "line 1: task.family: 'countrys': allowed: 'countries', "),
    ],
)
def test_a_file_that_is_no_run_is_refused_in_a_line(
    call: Call, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    for verb in ("run", "plan", "tasks"):
        ended = call(verb, path)
        assert ended.code == 2
        assert message in ended.err
        assert len(ended.err.splitlines()) <= 2
        ended = call(verb, tmp_path)
        assert f"{tmp_path}: this is a folder" in ended.err


def test_a_place_that_cannot_be_written_is_named_before_work_starts(
    call: Call, home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    for words in (("run", home / "run.yaml"), ("reproduce",), ("audit", "nano")):
        ended = call(*words, "--out", file)
        assert ended.code == 2
        assert "--out" in ended.err
        assert "file" in ended.err
    assert call("reproduce", "--workers", "0").code == 2
    for path, message in ((tmp_path / "no", "there is no such file"), (tmp_path, "is a folder")):
        for verb in ("vector", "read"):
            ended = call(verb, path)
            assert ended.code == 2
            assert verb == "read" or message in ended.err


def test_errors_of_the_disk_are_one_clear_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device", "runs/x")

    monkeypatch.setattr(command, "run_source", full)
    ended = call("run", "demo")
    assert (ended.code, ended.err) == (1, "stopped: runs/x: No space left on device\n")


def test_errors_of_a_run_are_one_clear_line(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise RunError("the disk is full: x was not written; what was written stays")

    monkeypatch.setattr(command, "run_source", full)
    ended = call("run", "demo")
    assert ended.code == 1
    assert ended.err == ("stopped: the disk is full: x was not written; what was written stays\n")


def test_ctrl_c_ends_with_a_word_and_130(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_source", interrupted)
    ended = call("run", "demo")
    assert ended.code == 130
    assert ended.err.strip().startswith("stopped by you; finished work is kept")


def test_options_reach_the_run(call: Call, home: Path, tmp_path: Path) -> None:
    words = ["--arms", "vector", "--layers", "1", "--positions", "last", "--seeds", "2", "--quick"]
    ended = call(
        *("run", home / "run.yaml", "--out", tmp_path, *words),
        *("--vector-learning-rates", "0.05", "--workers", "1", "--dtype", "float32"),
    )
    assert ended.code == 0, ended.err
    (folder,) = tmp_path.iterdir()
    (config,) = load_configs(folder / "config.yaml")
    assert config.name == "tiny-quick"
    assert config.seeds == 1, "--quick has the last word"
    assert config.adapter is None
    assert config.vector is not None
    assert (config.vector.layers, config.vector.positions) == ((1,), "last")
    assert config.vector.learning_rates == (0.05,)
    command_line = (folder / "claims.json").read_text()
    assert "--arms vector" in command_line
    assert set(rows_of(folder)["arm"]) == {"vector", "base", "ceiling", "random direction"}
