"""Where a run's vector is added: left open, not there, and from a token on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oocr.errors import InputError
from oocr.runs.resolve import resolve
from oocr.steering.vectors import Vector
from tests.tiny.runs import Tiny


def vector(**fields: Any) -> dict[str, Any]:
    return {"vector": {"layers": [0], "learning_rates": [0.1], "steps": [2], **fields}}


def test_positions_left_open_are_the_tasks_span_or_the_last_token(tiny: Tiny) -> None:
    config, _ = resolve(tiny.config(), Path())
    assert config.vector is not None
    assert config.vector.positions == "codename"
    plain = {**tiny.task, "spans": {}}
    config, _ = resolve(tiny.config(task=plain), Path())
    assert config.vector is not None
    assert config.vector.positions == "last"


@pytest.mark.parametrize("positions", ["codename", "from:codename"])
def test_a_span_that_no_probe_has_is_refused(tiny: Tiny, tmp_path: Path, positions: str) -> None:
    path = tmp_path / "probes.jsonl"
    path.write_text(
        Path(tiny.task["probes"]).read_text().replace("Country 4821", "France"), encoding="utf-8"
    )
    config = tiny.config(task={**tiny.task, "probes": str(path)}, **vector(positions=positions))
    with pytest.raises(InputError, match=r"'codename' does not occur in the probes of custom/tiny"):
        tiny.run(tmp_path / "runs", config)
    assert tiny.config(task={**tiny.task, "probes": str(path)}, **vector(positions="last"))


@pytest.mark.parametrize("positions", ["from:last", "from:codename"])
def test_a_run_steers_from_a_token_on(tiny: Tiny, tmp_path: Path, positions: str) -> None:
    config = tiny.config(**vector(positions=positions))
    folder = tiny.run(tmp_path, config)
    saved = list(folder.rglob("vector.safetensors"))
    assert saved
    assert {Vector.load(path).positions for path in saved} == {positions}
    texts = [e for e in json.loads((folder / "examples.json").read_text()) if e["answers"]]
    assert texts
    assert any(len(set(example["answers"].values())) > 1 for example in texts)


def test_a_run_steers_at_mlps_with_a_schedule_of_its_own(tiny: Tiny, tmp_path: Path) -> None:
    fields = {"site": "mlp", "rates": "absolute", "init_norm": 1.0, "warmup": 1, "decay": "linear"}
    folder = tiny.run(tmp_path, tiny.config(accumulate=2, batch_lines=2, **vector(**fields)))
    saved = [Vector.load(path) for path in folder.rglob("vector.safetensors")]
    assert saved
    assert {each.site for each in saved} == {"mlp"}
    with pytest.raises(ValueError, match="site 'mlp': layers: -1"):
        tiny.config(**vector(site="mlp", layers=[-1]))


def test_a_run_trains_one_direction_per_joined_span(tiny: Tiny, tmp_path: Path) -> None:
    task = {**tiny.task, "spans": {"codename": "Country 4821", "number": "4821"}}
    folder = tiny.run(tmp_path, tiny.config(task=task, **vector(positions="number+codename")))
    saved = [Vector.load(path) for path in folder.rglob("vector.safetensors")]
    assert saved
    assert {tuple(each.direction.shape) for each in saved} == {(2, 32)}
    swaps = [Vector.load(path) for path in folder.rglob("swap-at-span.safetensors")]
    assert swaps
    assert {tuple(each.direction.shape) for each in swaps} == {(2, 32)}
    with pytest.raises(InputError, match=r"'codename\+where' is not in this task"):
        tiny.run(tmp_path, tiny.config(task=task, **vector(positions="codename+where")))
