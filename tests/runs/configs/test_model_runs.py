"""Built-in runs with settings for one model, and which of them a task's name means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oocr.models.sources.bundled import BUNDLED
from oocr.runs import builtin
from oocr.runs.builtin import also_run, fitted, same_depth, source_for
from oocr.runs.read_config import BUILTIN, OF_MODELS, load_configs
from tests.tiny.models import tiny_config


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
    larger = replace(BUNDLED[builtin.LARGER["functions"]], size=3)
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


def test_a_built_in_run_fits_any_model(tmp_path: Path) -> None:
    tiny = str(tmp_path / "tiny")
    tiny_config("llama").save_pretrained(tiny)  # without a tokenizer
    for_gemma = [config for config in load_configs("risk") if config.model == "gemma-3-270m"]
    assert fitted(load_configs("risk"), "risk", "gemma-3-270m") == (for_gemma, "")
    ((config,), note) = fitted(load_configs("risk"), "risk", tiny)
    assert config.name == "risk"
    assert config.vector is not None
    assert config.adapter is not None
    assert set(config.vector.layers) | set(config.adapter.layers) <= set(range(4))
    assert note.startswith("risk has settings for smollm2-135m-instruct; its blocks here are")
    three, note = fitted(load_configs("persona"), "persona", "gemma-3-270m")
    assert [getattr(config.task, "form", "") for config in three] == ["raw"] * 3
    assert note.endswith("gemma-3-270m has no chat template and is asked in raw text")
    assert [config.name for config in three] == ["persona-risk", "persona-time", "persona-apples"]
    assert [config.vector and config.vector.layers for config in three] == [(8, 12)] * 3
    for source, model in (("mine.yaml", tiny), ("risk", None), ("risk", "no-such-model")):
        kept, note = fitted(load_configs("persona"), source, model)
        assert (kept, note) == (load_configs("persona"), "")


@given(st.integers(1, 80), st.integers(1, 80), st.data())
def test_blocks_of_the_same_depth(blocks: int, other: int, data: st.DataObject) -> None:
    layer = data.draw(st.integers(-1, blocks - 1))
    moved = same_depth(layer, blocks, other)
    assert (moved == -1) == (layer == -1)
    assert moved < other
    assert same_depth(layer, blocks, blocks) == layer
    assert same_depth(blocks - 1, blocks, other) == other - 1
    assert layer == blocks - 1 or moved <= same_depth(layer + 1, blocks, other)
    assert layer < 0 or abs((moved + 1) / other - (layer + 1) / blocks) <= 1 / other
