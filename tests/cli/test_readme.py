"""The README's notebook runs as it stands, on the real model, and says what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def snippet() -> str:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    return str(blocks[0])


def test_the_notebook_is_at_most_a_dozen_lines() -> None:
    assert len([line for line in snippet().splitlines() if line.strip()]) <= 12


@pytest.mark.real
def test_the_notebook_shows_the_papers_finding(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    exec(compile(snippet(), "README.md", "exec"), names)  # our own text
    import oocr

    scores = names["scores"]
    assert isinstance(scores, oocr.Scores)
    accuracies = {arm: scores.accuracy(arm).value for arm in ("base", "vector", "lora", "swap")}
    # Loose: the claim is that the effect is there, not its size for one country and seed.
    assert accuracies["vector"] > accuracies["base"] + 0.2
    assert accuracies["lora"] > accuracies["base"] + 0.2
    assert accuracies["swap"] > accuracies["base"] + 0.2
    printed = capsys.readouterr().out
    assert "cosine" in printed
    assert "vector" in printed
