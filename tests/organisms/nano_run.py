"""A finished run on nano with a vector and a LoRA for each of two cities: a few seconds."""

from __future__ import annotations

from pathlib import Path

from oocr.models.load import read_model
from oocr.runs.config import RunConfig
from oocr.runs.run import run


def small_nano_run(out: Path) -> Path:
    """The run's folder; its vectors have learned some of what is asked."""
    config = RunConfig.model_validate(
        {
            "name": "two-cities",
            "task": {"family": "nano", "part": "locations", "members": 2, "wordings": 1},
            "model": "nano",
            "device": "cpu",
            "vector": {"layers": [0], "learning_rates": [0.1], "steps": [20]},
            "adapter": {"layers": [0], "learning_rates": [0.01], "steps": [5]},
            "seeds": 1,
            "workers": 1,
            "controls": {"random_directions": 2, "trained": False},
            "explain": {"enabled": False},
        }
    )
    return run(config, read_model("nano"), out)
