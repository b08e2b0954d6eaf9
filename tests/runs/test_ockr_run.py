"""Whole runs of the ockr family on a random tiny model: what is not recalled cannot be tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tiny.runs import Tiny, claims_of

TASKS: dict[str, dict[str, Any]] = {
    "single": {"mode": "single"},
    "joint": {"reasoning": "A+A->R", "telling": "separate"},
    "cross-lingual": {"reasoning": "cross-lingual"},
}


@pytest.mark.parametrize("name", TASKS)
def test_run(name: str, tmp_path: Path) -> None:
    tiny = Tiny(tmp_path)
    config = tiny.config(
        task={"family": "ockr", "values": 3, "each": 1, **TASKS[name]},
        vector={"layers": [1], "learning_rates": [0.1], "steps": [2]},
        adapter=None,
        seeds=1,
        controls={"random_directions": 2},
    )
    verdicts = {claim.id: claim for claim in claims_of(tiny.run(tmp_path / "runs", config))}
    assert verdicts["vector-recall"].verdict != "holds"
    target = verdicts["vector-out-of-context"]
    assert target.verdict == "cannot be tested"
    assert "Cannot be tested unless the mean of vector-recall is at least 0.95" in target.rule
    assert ("vector-order" in verdicts) == (name == "joint")
