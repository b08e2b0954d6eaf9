"""Where there is nothing to choose, nothing is trained to choose it."""

from __future__ import annotations

import pytest

from oocr.runs.config import RunConfig
from oocr.runs.grid import only_point


@pytest.mark.parametrize(
    ("layers", "rates", "steps", "stop_on", "single"),
    [
        ((4,), (0.05,), (10,), "validation", True),
        ((2, 4), (0.05,), (10,), "validation", False),
        ((4,), (0.02, 0.05), (10,), "validation", False),
        ((4,), (0.05,), (5, 10), "validation", False),
        ((4,), (0.05,), (5, 10), "stop", True),  # each arm stops by its own held-out items
    ],
)
def test_a_grid_of_one_point_is_chosen_without_a_score(
    layers: tuple[int, ...],
    rates: tuple[float, ...],
    steps: tuple[int, ...],
    stop_on: str,
    single: bool,
) -> None:
    vector = {"layers": layers, "learning_rates": rates, "steps": steps}
    config = RunConfig.model_validate(
        {"name": "x", "task": {"family": "countries"}, "vector": vector, "stop_on": stop_on}
    )
    point = only_point("vector", config)
    assert (point is not None) is single
    if point is not None:
        assert (point.layer, point.learning_rate, point.chosen, point.score) == (
            4,
            0.05,
            True,
            None,
        )
        assert point.step == (0 if stop_on == "stop" else 10)
