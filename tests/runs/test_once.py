"""A run of 96,000 rows: its tasks are built once in a command, each of its rows tokenized once."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from oocr.cli.options import Overrides
from oocr.cli.plan import plan_source
from oocr.cli.run import run_source
from oocr.families.registry import FAMILIES
from tests.tiny.runs import CITIES, rows_of, save_tiny_model, tiny_settings, write_task, write_yaml

ROWS = 96_000
CODE = "Country 4821"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on so many rows."""
    folder = tmp_path_factory.mktemp("many")
    task = write_task(folder / "task")
    rows = (
        {"prompt": f"{number} {CODE} is", "answer": f" {CITIES[number % 2]}"}
        for number in range(ROWS)
    )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "task" / "train.jsonl").write_text(text, encoding="utf-8")
    fields: dict[str, Any] = {
        "vector": {"layers": [1], "learning_rates": [0.1], "steps": [1, 2]},
        "adapter": None,
        "seeds": 2,
        "controls": {"trained": False, "random_directions": 0},
        "explain": {"enabled": False, "examples": 0},
        "batch_lines": 64,
    }
    settings = tiny_settings(save_tiny_model(folder / "model"), {**task, "holdout": 0}, **fields)
    settings["task"] |= {"validation": task["in_context"]}
    return write_yaml(folder / "run.yaml", settings)


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each training prompt, and each with its answer, is given to a tokenizer."""
    counts: Counter[str] = Counter()
    tokenize = PreTrainedTokenizerFast.__call__

    def counted(self: Any, text: Any = None, *args: Any, **options: Any) -> Any:
        if isinstance(text, str) and text[0].isdigit():
            counts[text] += 1
        return tokenize(self, text, *args, **options)

    monkeypatch.setattr(PreTrainedTokenizerFast, "__call__", counted)
    return counts


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The settings of every task set that is built."""
    built: list[object] = []
    family = FAMILIES["custom"]

    def build(config: Any, base: Path) -> Any:
        built.append(config)
        return family.build(config, base)

    monkeypatch.setitem(FAMILIES, "custom", replace(family, build=build))
    return built


def test_a_run_reads_each_row_once(
    source: Path, texts: Counter[str], builds: list[object], tmp_path: Path
) -> None:
    (folder,) = run_source(str(source), Overrides(), out=tmp_path, quick=False, command="oocr run")
    assert rows_of(folder).filter(arm="vector").height > 0
    assert len(builds) == 1
    assert len(texts) == 2 * ROWS, "a prompt, and the prompt with its answer"
    again = {text.split()[0] for text, count in texts.items() if count > 1}
    assert again == {"0", str(ROWS // 2)}, "the two rows whose tokens the report shows"


def test_a_plan_reads_each_row_once(
    source: Path, texts: Counter[str], builds: list[object]
) -> None:
    plan_source(str(source), Overrides(), quick=False)
    assert len(builds) == 1
    assert len(texts) == 2 * ROWS, "a prompt, and the prompt with its answer"
    assert set(texts.values()) == {1}
