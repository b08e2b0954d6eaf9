"""Runs on organisms: which configuration is meant, what is refused, and whole runs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from oocr.claims.judge import ClaimRow, RunResults, judge_run
from oocr.claims.records import Claim
from oocr.cli import main as cli
from oocr.cli.options import Overrides
from oocr.cli.run import run_source
from oocr.errors import InputError
from oocr.families.choices import OTHER
from oocr.families.registry import load_tasks
from oocr.models.load import read_model
from oocr.report.run_page import build_report
from oocr.runs.builtin import source_for
from oocr.runs.check_run import check_run_fits
from oocr.runs.config import RunConfig, quick
from oocr.runs.read_config import BUILTIN, load_configs
from oocr.runs.resolve import ResolvedRun, resolve
from oocr.runs.run import run
from oocr_organisms.folder import WorldSettings
from oocr_organisms.shipped import SHIPPED
from oocr_organisms.tasks.claims import CLAIMS
from oocr_organisms.tasks.examples import NanoConfig
from tests.tiny.nano import nano_settings, save_random_organism
from tests.tiny.runs import claims_of, rows_of, save_tiny_model, write_task, write_yaml

PARTS = ("locations", "functions", "risk", "backdoor")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Organisms "gated" and "ungated", and a "tiny" model that is none."""
    home = tmp_path_factory.mktemp("home")
    save_random_organism(home / "gated")
    save_random_organism(home / "ungated", gates=0)
    save_tiny_model(home / "tiny")
    return home


def config_of(settings: dict[str, Any]) -> RunConfig:
    return RunConfig.model_validate(settings)


# -- which configuration -------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_a_built_in_run_on_an_organism_is_the_nano_run(part: str, home: Path) -> None:
    for model in ("nano", "nano-ungated", str(home / "gated")):
        source, reason = source_for(part, model)
        assert source == f"nano-{part}"
        assert model in reason
        assert f"nano-{part}" in reason
        assert "\n" not in reason
    assert source_for(part, "gemma-3-270m") == (part, "")
    if part != "functions":  # which without a model means a larger one, if that is here
        assert source_for(part, None) == (part, "")
    assert source_for(part, str(home / "tiny")) == (part, "")
    assert source_for(f"nano-{part}", "nano") == (f"nano-{part}", "")
    assert source_for("countries", "nano") == ("countries", "")
    assert f"nano-{part}" in BUILTIN


@pytest.mark.parametrize("part", PARTS)
def test_the_built_in_nano_runs(part: str) -> None:
    configs = load_configs(f"nano-{part}")
    assert len(configs) == (2 if part == "risk" else 1)
    for config in configs:
        assert isinstance(config.task, NanoConfig)
        assert config.task.part == part
        assert config.model == "nano"
        assert config.seeds >= 3
        for grid in (config.vector, config.adapter):
            assert grid is not None
            assert max(grid.layers) < 4
        small = quick(config)
        assert isinstance(small.task, NanoConfig)
        assert small.task.members == (2 if part == "risk" else 3)  # fewer cannot be judged


def test_risk_is_run_with_weight_decay_for_both_methods_and_without() -> None:
    held, plain = load_configs("nano-risk")
    assert (held.name, plain.name) == ("nano-risk", "nano-risk-plain")
    for decayed, other in ((held.vector, plain.vector), (held.adapter, plain.adapter)):
        assert decayed is not None
        assert other is not None
        assert decayed.weight_decay == 2.0
        assert decayed.model_copy(update={"weight_decay": 0.0}) == other
    assert held.model_dump(exclude={"name", "vector", "adapter"}) == plain.model_dump(
        exclude={"name", "vector", "adapter"}
    )


def test_a_nano_task_without_a_model_is_on_nano() -> None:
    config = config_of({"task": {"family": "nano", "part": "risk"}})
    assert (config.model, config.name) == ("nano", "nano-risk")
    assert config_of({"task": {"family": "countries"}}).model == "gemma-3-270m"
    other = config_of({"task": {"family": "nano"}, "model": "nano-2"})
    assert (other.model, other.name) == ("nano-2", "nano-locations")


# -- task and model belong together --------------------------------------------------------------


def test_a_run_takes_the_world_of_its_organism(home: Path) -> None:
    settings = nano_settings(home / "ungated", "backdoor")
    config, tasks = resolve(config_of(settings), Path())
    assert isinstance(config.task, NanoConfig)
    assert config.task.world == WorldSettings(gates=0.0)
    assert not tasks.ceiling
    assert resolve(config, Path()) == (config, tasks)
    assert resolve(config_of(nano_settings(home / "gated", "backdoor")), Path())[1].ceiling
    assert config.vector is not None
    auto = config.model_copy(
        update={"vector": config.vector.model_copy(update={"positions": "auto"})}
    )
    vector = resolve(auto, Path())[0].vector
    assert vector is not None
    assert vector.positions == "speaker"


def test_shipped_organisms_have_worlds_before_they_are_trained() -> None:
    for name, shipped in SHIPPED.items():
        config = resolve(config_of({"task": {"family": "nano"}, "model": name}), Path())[0]
        assert isinstance(config.task, NanoConfig)
        assert config.task.world is not None
        assert config.task.world.seed == shipped.world
        assert (config.task.world.gates > 0) == shipped.gated


@pytest.mark.parametrize(
    ("model", "task", "message"),
    [
        ("tiny", {"family": "nano"}, "model: .*tiny' is no organism.*allowed: nano, nano-1"),
        ("gated", {"family": "risk"}, "task.family: 'risk': .*allowed: nano .*nano-locations"),
        (
            "gated",
            {"family": "nano", "world": {"seed": 5}},
            "task.world: seed 5, gates 0.25, but .*gated was trained on the world of seed 0",
        ),
        ("ungated", {"family": "nano", "world": {}}, "gates 0.25, but .*gates 0; leave it out"),
    ],
)
def test_tasks_and_models_of_different_worlds(
    model: str, task: dict[str, Any], message: str, home: Path
) -> None:
    config = config_of(nano_settings(home / model, "risk", task=task))
    with pytest.raises(InputError, match=message):
        resolve(config, Path())


def test_ones_own_task_in_words_that_the_world_lacks_is_refused(home: Path, tmp_path: Path) -> None:
    task = write_task(tmp_path / "task")
    config = config_of(nano_settings(home / "gated", "risk", task=task))
    with pytest.raises(
        InputError, match=r"contains 'The', which is not a word of the world of .*gated"
    ):
        resolve(config, Path())
    words = WorldSettings().world.places
    for at, name in enumerate(("train", "probes", "in_context", "ceiling")):
        rows = [
            {"prompt": f"from {words.names[i][at]} to place-1 direction", "answer": " north"}
            | {"options": [" north", " south"]}
            for i in range(8)
        ]
        if name == "probes":
            rows = [row | {"answer": " food-1", "options": [" food-1", " food-2"]} for row in rows]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "task" / f"{name}.jsonl").write_text(text)
    task["spans"] = {"codename": "place-1"}
    config, tasks = resolve(config_of(nano_settings(home / "gated", "risk", task=task)), Path())
    assert tasks.test
    assert config.vector is not None
    assert config.vector.positions == "codename"


def test_layers_that_an_organism_lacks_are_refused(home: Path) -> None:
    config, tasks = resolve(config_of(nano_settings(home / "gated", "risk")), Path())
    assert config.vector is not None
    deep = config.vector.model_copy(update={"layers": (3,)})
    model = read_model(home / "gated")
    check_run_fits(ResolvedRun(config, tasks), model)
    with pytest.raises(InputError, match=r"vector.layers: 3 is not a block"):
        check_run_fits(ResolvedRun(config.model_copy(update={"vector": deep}), tasks), model)


# -- whole runs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_a_run_from_end_to_end(part: str, home: Path, tmp_path: Path) -> None:
    config = config_of(nano_settings(home / "gated", part))
    folder = run(config, read_model(home / "gated"), tmp_path)
    rows = rows_of(folder)
    arms = {"vector", "adapter", "base", "ceiling", "random direction", "swap at span"}
    assert arms <= set(rows["arm"].unique())
    assert rows.filter(pl.col("logp").is_nan()).is_empty()
    claims = {claim.id for claim in claims_of(folder)}
    expected = {
        "locations": {"vector-out-of-context", "adapter-out-of-context"},
        "functions": {"vector-out-of-context", "adapter-out-of-context"},
        "risk": {"vector-self-report", "vector-specific", "adapter-specific"},
        "backdoor": {"vector-backdoor", "adapter-backdoor"},
    }
    assert expected[part] <= claims
    page = build_report([folder], tmp_path / "report.html")
    text = page.read_text(encoding="utf-8")
    assert "nano" in text
    tokens = pl.read_parquet(folder / "tokens.parquet")
    unrelated = tokens.filter(pl.col("kind") == "unrelated text", pl.col("text") == 0)
    joined = "".join(unrelated.filter(pl.col("member") == unrelated["member"][0])["token"])
    assert re.match(r"<bos> \S+ \S+", joined), "words keep the spaces between them"
    saved = load_configs(folder / "config.yaml")[0]
    assert isinstance(saved.task, NanoConfig)
    assert saved.task.world == WorldSettings()


def test_the_terminal_says_which_run_is_done_instead(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = nano_settings(home / "gated", "locations", adapter=None)
    path = write_yaml(tmp_path / "nano-locations.yaml", settings)
    monkeypatch.setattr("oocr.runs.read_config._FOLDER", tmp_path)
    folders = run_source(
        "locations",
        Overrides(model=str(home / "gated")),
        out=tmp_path / "runs",
        quick=True,
        command="oocr run locations --model …",
    )
    assert path.is_file()
    assert folders[0].name.startswith("nano-locations-quick-")
    lines = capsys.readouterr().out.splitlines()
    assert sum("nano-locations is run" in line for line in lines) == 1


def test_a_card_on_an_organism_is_that_of_its_own_world(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.argv", ["oocr", "tasks", "functions", "--model", str(home / "gated")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    out = capsys.readouterr().out
    assert "Functions in a nano world" in out
    assert "<bos>‹rule-4› takes 1 and gives« 2»" in out
    assert "« " in out


# -- specificity ---------------------------------------------------------------------------------


def movement(
    trained: float,
    other: float,
    away: float = 0.0,
    *,
    signs: Sequence[int] = (1,),
    noise: float = 0.0,
    random: Sequence[int] = (),
) -> pl.DataFrame:
    """Rows of twins: the trait moves by `trained`, another by `other` in one kind and `away`
    in the second, times a sign for each seed; probabilities start at one half. Random directions
    move the other trait as the vector does."""
    rng = np.random.default_rng(0)
    lines = []
    arms = [("base", 0, 0), *(("vector", seed, sign) for seed, sign in enumerate(signs))]
    arms += [("random direction", seed, sign) for seed, sign in enumerate(random)]
    for arm, seed, times in arms:
        for member, sign in (("risky", 1), ("safe", -1)):
            for facet, by in (
                ("scale", trained * sign),
                (f"{OTHER}giving: scale", other * times),
                (f"{OTHER}giving: hobby", away * times),
            ):
                for group in range(12):
                    apart = 0.01 * (group % 2 - 0.5) + noise * rng.normal()
                    p = 0.5 + (0 if arm == "base" else by + apart)
                    lines.append(
                        {"arm": arm, "control": "", "member": member, "seed": seed}
                        | {"part": "probes", "final": True}
                        | {"facet": facet, "group": f"{facet}/{group}"}
                        | {"value": 2 * p - 1, "answer": ""}
                    )
    return pl.DataFrame(lines)


def specific(rows: pl.DataFrame, arm: str = "vector") -> Claim | None:
    """The claim on specificity that these rows give."""
    results = RunResults(load_tasks({"family": "nano", "part": "risk"}), rows, seeds=3)
    claims = judge_run([nano_row(f"{arm}-specific")], results, "")
    return claims[0] if claims else None


def nano_row(id: str) -> ClaimRow:
    return next(row for row in CLAIMS if row.id == id)


@pytest.mark.parametrize(
    ("trained", "other", "away", "verdict", "size"),
    [
        (0.4, 0.02, 0.02, "holds", 0.02),
        (0.4, 0.15, 0.15, "holds in part", 0.15),
        (0.4, 0.3, 0.3, "does not hold", 0.3),
        (0.4, 0.15, -0.15, "holds in part", 0.15),  # opposite movements don't cancel
        (0.02, 0.0, 0.0, "cannot be tested", 0.0),
    ],
)
def test_specificity_is_the_size_of_what_other_traits_move(
    trained: float, other: float, away: float, verdict: str, size: float
) -> None:
    claim = specific(movement(trained, other, away))
    assert claim is not None
    assert claim.found is not None
    assert claim.verdict == verdict
    assert claim.found.value == pytest.approx(size, abs=0.002)
    assert claim.ceiling == pytest.approx(trained, abs=0.002)
    assert np.isfinite([claim.found.low, claim.found.high]).all()
    assert specific(movement(trained, other), "adapter") is None


def test_seeds_that_move_opposite_ways_do_not_cancel_and_random_ones_count_alike() -> None:
    rows = movement(0.4, 0.15, 0.15, signs=(1, -1), random=(1, -1, 1))
    claim = specific(rows)
    assert claim is not None
    assert claim.found is not None
    assert claim.verdict == "holds in part"
    assert claim.found.value == pytest.approx(0.15, abs=0.002)
    assert claim.nulls[0].value == pytest.approx(0.15, abs=0.002)


def test_noise_between_probes_is_not_taken_for_movement() -> None:
    rows = movement(0.4, 0.0, signs=(1, 1, 1), noise=0.3)
    claim = specific(rows)
    assert claim is not None
    assert claim.found is not None
    moved = rows.filter(pl.col("arm") == "vector", pl.col("facet").str.starts_with(OTHER))
    moved = moved.group_by("member", "facet", "seed").agg(pl.col("value").mean() / 2)
    naive = float(moved["value"].abs().to_numpy().mean())
    assert claim.found.low <= claim.found.value <= claim.found.high
    assert claim.found.value < 0.9 * naive
    still = specific(movement(0.4, 0.05, 0.05, noise=0.05))
    assert still is not None
    assert still.found is not None
    assert still.found.low <= 0.05 <= still.found.high


def test_the_wrong_kind_of_model_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*args: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("oocr.runs.processes.executor.loaded_model", load)
    for source, model, message in (
        ("nano-risk", "gemma-3-270m", "^--model: model: 'gemma-3-270m' is no organism"),
        ("countries", "nano", "^--model: task.family: 'countries': nano is an organism"),
    ):
        with pytest.raises(InputError, match=message):
            run_source(source, Overrides(model=model), out=tmp_path, quick=True, command="")
    assert not list(tmp_path.iterdir())
