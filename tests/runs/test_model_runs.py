"""Built-in runs with settings for one model, and which of them a task's name means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from oocr.models.sources.bundled import BUNDLED
from oocr.runs import resolve
from oocr.runs.read_config import BUILTIN, OF_MODELS, load_configs
from oocr.runs.resolve import also_run, source_for


@pytest.mark.parametrize("name", OF_MODELS)
def test_a_run_of_a_model_is_of_that_model_and_its_blocks(name: str) -> None:
    model, _, task = name.partition("/")
    # "demo" too: what the demo also does where that model is here; "functions-rows": a study of it.
    assert any(task == other or task.startswith(f"{other}-") for other in BUILTIN)
    for config in load_configs(name):
        assert config.model == model
        for grid in config.grids.values():
            assert 0 <= min(grid.blocks) <= max(grid.blocks) < BUNDLED[model].blocks


def test_a_model_with_settings_of_its_own_gets_them() -> None:
    name = "qwen2.5-coder-0.5b-instruct"
    assert source_for("risk", name) == (
        f"{name}/risk",
        f"{name} has settings of its own: {name}/risk is run",
    )
    assert source_for("risk", "gemma-3-270m") == ("risk", "")
    assert source_for("risk", None) == ("risk", "")


@pytest.mark.parametrize("here", [True, False])
def test_functions_without_a_model_means_the_one_that_can_do_it_if_it_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, here: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    larger = replace(BUNDLED[resolve.LARGER["functions"]], size=3)
    monkeypatch.setitem(BUNDLED, larger.name, larger)
    if here:
        larger.path.parent.mkdir(parents=True)  # type: ignore[union-attr]
        larger.path.write_bytes(b"abc")  # type: ignore[union-attr]
    source, note = source_for("functions", None)
    assert source == (f"{larger.name}/functions" if here else "functions")
    assert ("is run" if here else "oocr models get qwen2.5-coder-1.5b-instruct") in note
    assert source_for("functions", "gemma-3-270m") == ("functions", "")
    assert also_run("demo", None) == ([f"{larger.name}/demo"] if here else [])
    assert also_run("demo", "gemma-3-270m") == also_run("functions", None) == []
