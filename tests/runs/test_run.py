"""A whole run on a tiny model: what is written, what is chosen, what is refused."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from oocr.errors import InputError
from oocr.evals.scores import select_rows
from oocr.runs.check_run import check_run_fits
from oocr.runs.config import RunConfig
from oocr.runs.folder import run_folder
from oocr.runs.read_config import load_configs
from oocr.runs.records import RunInfo, Selection
from oocr.runs.resolve import ResolvedRun, resolve
from oocr.runs.stages import PreparedRun
from tests.tiny.runs import Tiny, arms_of, claims_of, rows_of, tiny_settings, write_task


def test_a_run_folder_holds_what_it_should_and_no_leftovers(done: Path) -> None:
    files = {entry.name for entry in done.iterdir()}
    tables = ("rows", "history", "constancy", "tokens", "side_effects")
    assert files >= {f"{name}.parquet" for name in tables}
    assert files >= {f"{name}.json" for name in ("run", "selection", "claims", "examples")}
    assert not [entry for entry in done.rglob(".*") if entry.name != ".lock"]
    info = RunInfo.model_validate_json((done / "run.json").read_text())
    assert info.complete
    assert info.chance == {"language": 0.25, "people": 0.25}
    assert info.seeds == (0, 1)


def test_a_run_that_does_not_begin_yet_holds_no_tokens(tiny: Tiny) -> None:
    ready = PreparedRun.of(resolve(tiny.config(), Path()), tiny.model)
    rows = weakref.ref(ready.tokens.rows)
    waiting = ready.without_tokens()
    assert replace(waiting, tokens=ready.tokens) == ready
    del ready
    gc.collect()
    assert rows() is None


def test_rows_say_what_was_scored_where_and_when(done: Path, tiny: Tiny) -> None:
    rows = rows_of(done)
    assert set(rows["arm"].unique()) == {
        *("vector", "adapter", "swap at span", "swap everywhere", "base", "ceiling"),
        *("random direction", "random direction at span", "random direction everywhere"),
    }
    trained = rows.filter(pl.col("arm").is_in(["vector", "adapter", "swap at span"]))
    assert trained["layer"].null_count() == 0
    assert rows.filter(arm="base")["layer"].null_count() == len(rows.filter(arm="base"))
    ids = ["arm", "control", "member", "seed", "part", "item"]
    final = rows.filter("final")
    assert not final.select(ids).is_duplicated().any(), "one row that counts per arm and item"
    assert rows.filter(arm="random direction")["seed"].n_unique() == 6
    assert set(rows.filter(arm="vector", control="")["seed"].unique()) == {0, 1}
    assert rows.filter(control="shuffled")["seed"].unique().to_list() == [0]
    along = rows.filter(arm="vector", control="", seed=0, part="probes")
    assert set(along["step"].unique()) == {2, 4}


def test_the_same_seed_gives_the_same_numbers(done: Path, tiny: Tiny, tmp_path: Path) -> None:
    again = tiny.run(tmp_path)
    assert again.name == done.name
    assert rows_of(again).equals(rows_of(done))
    assert claims_of(again) == claims_of(done)
    for name in ("constancy", "side_effects", "tokens", "history"):
        first, other = (pl.read_parquet(folder / f"{name}.parquet") for folder in (again, done))
        assert first.equals(other), name
    assert (again / "examples.json").read_text() == (done / "examples.json").read_text()


def test_seeds_differ(done: Path) -> None:
    rows = rows_of(done).filter(arm="vector", control="", final=True, part="probes")
    first, second = (rows.filter(seed=seed)["logp"].to_list() for seed in (0, 1))
    assert first != second


CHANGES: list[dict[str, Any]] = [
    {"name": "other"},
    {"seeds": 1},
    {"dtype": "bfloat16"},
    {"stop_on": "stop"},
    {"batch_lines": 4},
    {"vector": None},
    {"vector": {"layers": [0]}},
    {"adapter": {"layers": "all"}},
    {"controls": {"random_directions": 5}},
    {"explain": {"enabled": False}},
]


def test_a_folder_stands_for_one_configuration(tiny: Tiny) -> None:
    folders = [run_folder(tiny.config(**change), Path()) for change in [{}, *CHANGES]]
    task = {**tiny.task, "seed": 1}
    folders.append(run_folder(tiny.config(task=task), Path()))
    assert len(set(folders)) == len(folders)
    assert run_folder(tiny.config(workers=2), Path()) == folders[0], "numbers don't depend on it"


def test_the_written_configuration_does_the_same_run_from_anywhere(
    done: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (config,) = load_configs(done / "config.yaml")
    config, tasks = resolve(config, done)
    check_run_fits(ResolvedRun(config, tasks), tiny.model)
    assert run_folder(config, done.parent) == done


def test_paths_of_a_task_start_at_the_given_folder(tiny: Tiny, tmp_path: Path) -> None:
    names = {k: Path(v).name for k, v in tiny.task.items() if str(v).endswith(".jsonl")}
    config, tasks = resolve(tiny.config(task={**tiny.task, **names}), tiny.folder / "task")
    assert config == resolve(tiny.config(), tmp_path)[0]
    assert tasks.test[0].positions == ("codename",)


def vector(**fields: Any) -> dict[str, Any]:
    return {"vector": {"layers": [0], "learning_rates": [0.1], "steps": [2], **fields}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (vector(layers=[1, 4]), r"^vector\.layers: 4 is not a block of .*; allowed: -1 to 3$"),
        ({"adapter": {"layers": [-1]}}, r"^adapter\.layers: -1 is not .*; allowed: 0 to 3$"),
        (
            vector(positions="name"),
            r"^vector\.positions: 'name'.*; allowed: all, last, prompt, from:last, codename, from",
        ),
        (vector(positions="answer"), r"^vector\.positions: 'answer' is not in this task"),
        (vector(positions="from:all"), r"^vector\.positions: 'from:all' is not in this task"),
        (
            {"adapter": {"layers": [1], "modules": ["mlp"]}},
            r"^adapter\.modules: module 'mlp': .*down_proj",
        ),
        (
            {"controls": {"trained": ["planted"]}, "adapter": None, **vector()},
            r"^controls\.trained: 'planted'.*allowed: shuffled$",
        ),
    ],
)
def test_what_the_model_or_the_task_does_not_have_is_refused_before_anything_runs(
    tiny: Tiny, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tiny.run(tmp_path, tiny.config(**fields))
    assert not list(tmp_path.iterdir())


def test_stopping_on_held_out_items_needs_such_items(tiny: Tiny, tmp_path: Path) -> None:
    validation = {**tiny.task, "validation": tiny.task["in_context"], "holdout": 0}
    with pytest.raises(InputError, match="stop_on: 'stop' needs held-out items"):
        tiny.run(tmp_path, tiny.config(task=validation, stop_on="stop"))


def test_the_point_with_the_best_validation_score_is_chosen(done: Path, tiny: Tiny) -> None:
    selection = Selection.model_validate_json((done / "selection.json").read_text())
    _, tasks = resolve(tiny.config(), Path())
    for method in ("vector", "adapter"):
        points = [point for point in selection.grid if point.method == method]
        (chosen,) = [point for point in points if point.chosen]
        assert chosen.score == max(point.score for point in points)
        arms = [a for a in arms_of(done) if (a.method, a.role) == (method, "selection")]
        assert len(points) == 2 * len(arms), "each arm counts at two steps"
        for arm in arms:
            rows = pl.read_parquet(done / "arms" / arm.id / "rows.parquet")
            assert set(rows["item"]) & {item.id for item in tasks.test[0].probes} == set()
            for point in points:
                if point.layer == arm.layer:
                    right = rows.filter(part="probes", step=point.step)["right"]
                    assert point.score == pytest.approx(right.mean())
        test = [a for a in arms_of(done) if (a.method, a.role) == (method, "test")]
        assert {(a.layer, a.learning_rate, a.stop_step) for a in test} == {
            (chosen.layer, chosen.learning_rate, chosen.step)
        }


def test_without_options_the_loss_on_held_out_rows_chooses(tiny: Tiny, tmp_path: Path) -> None:
    task = write_task(tmp_path / "task", options=False)
    folder = tiny.run(tmp_path / "runs", tiny.config(task=task))
    selection = Selection.model_validate_json((folder / "selection.json").read_text())
    assert "loss" in selection.criterion
    arms = [arm for arm in arms_of(folder) if arm.role == "selection"]
    for method in ("vector", "adapter"):
        (chosen,) = [p for p in selection.grid if p.chosen and p.method == method]
        losses = [
            (loss, a.layer, step)
            for a in arms
            if a.method == method
            for step, loss in a.stop_losses.items()
        ]
        assert min(losses) == (pytest.approx(-chosen.score), chosen.layer, chosen.step)
    assert rows_of(folder).filter(arm="vector", final=True).height > 0


def test_each_arm_stops_where_its_own_held_out_loss_is_lowest(tiny: Tiny, tmp_path: Path) -> None:
    rate = {"learning_rates": [0.3], "steps": [1, 2, 3, 4]}
    config = tiny.config(stop_on="stop", seeds=3, adapter=None, **vector(**rate))
    folder = tiny.run(tmp_path, config)
    arms = [arm for arm in arms_of(folder) if arm.role == "test"]
    assert len(arms) == 3
    for arm in arms:
        assert arm.stop_losses[arm.stop_step] == min(arm.stop_losses.values())
        rows = rows_of(folder).filter(arm="vector", seed=arm.seed, final=True, control="")
        assert rows["step"].unique().to_list() == [arm.stop_step]
    assert {len(arm.losses) for arm in arms} == {4}, "all are trained to the end"
    assert any(arm.stop_step < 4 for arm in arms), "else this shows nothing"
    point = Selection.model_validate_json((folder / "selection.json").read_text()).grid[0]
    assert point.step == 0


def test_a_sweep_over_layers_has_no_part_in_what_is_reported(
    done: Path, tiny: Tiny, tmp_path: Path
) -> None:
    config = tiny.config()
    assert config.vector is not None
    swept = config.model_copy(update={"vector": config.vector.model_copy(update={"sweep": True})})
    folder = tiny.run(tmp_path, swept)
    rows = rows_of(folder)
    extra = rows.filter(arm="vector sweep")
    chosen = rows.filter(arm="vector", control="")["layer"].unique().to_list()
    assert len(chosen) == 1
    assert set(extra["layer"].unique()) == {0, 1} - set(chosen)
    assert extra.filter("final").height == 2 * 7, "two seeds, six probes, one in context"
    assert (
        select_rows(rows, "vector")
        .drop("layer")
        .equals(select_rows(rows_of(done), "vector").drop("layer"))
    )
    assert rows.filter(pl.col("arm") != "vector sweep").equals(rows_of(done))
    assert claims_of(folder) == claims_of(done)
    history = pl.read_parquet(folder / "history.parquet")
    assert history.equals(pl.read_parquet(done / "history.parquet"))


@pytest.mark.parametrize(
    ("fields", "arms", "ids"),
    [
        ({"vector": None}, {"adapter", "swap at span", "swap everywhere"}, {"adapter-out-of"}),
        ({"adapter": None}, {"vector"}, {"vector-out-of"}),
        (
            {"adapter": {"layers": "all", "learning_rates": [0.01], "steps": [2], "rank": 1}},
            {"vector", "adapter"},
            {"vector-out-of", "adapter-out-of"},
        ),
        ({"explain": {"enabled": False}}, {"vector", "adapter"}, {"vector-out-of", "adapter-out"}),
    ],
)
def test_arms_and_questions_can_be_left_out(
    tiny: Tiny, tmp_path: Path, fields: dict[str, Any], arms: set[str], ids: set[str]
) -> None:
    fixed = {"controls": {"trained": False, "random_directions": 0}, "seeds": 1}
    folder = tiny.run(tmp_path, tiny.config(**fixed, **fields))
    assert set(rows_of(folder)["arm"].unique()) == {*arms, "base", "ceiling"}
    ids_of_claims = {claim.id for claim in claims_of(folder)}
    assert all(any(entry.startswith(start) for entry in ids_of_claims) for start in ids)
    swaps = {entry for entry in ids_of_claims if entry.startswith("swap")}
    assert bool(swaps) is any(entry.startswith("swap") for entry in arms)


def test_a_built_in_family_runs_too(tiny: Tiny, tmp_path: Path) -> None:
    task = {"family": "countries", "countries": ["Japan", "Peru"], "validation": ["China"]}
    settings = tiny_settings(tiny.path, {**task, "wordings": 1}, seeds=1)
    settings["explain"] = {"enabled": False}
    settings["controls"] = {"random_directions": 1, "trained": ["shuffled"]}
    folder = tiny.run(tmp_path, RunConfig.model_validate(settings))
    rows = rows_of(folder)
    assert set(rows.filter(arm="vector")["member"].unique()) == {"Japan", "Peru"}
    assert {entry.id for entry in claims_of(folder)} == {
        "vector-out-of-context",
        "adapter-out-of-context",
    }
    assert "2 members × 1 seed" in {entry.found.n for entry in claims_of(folder)}
