"""Other projects' own files, where they lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

import oocr
from oocr.data.foreign_yaml import read_questions
from tests.data.test_foreign_data import probes

MISSING = "needs the data files of another project (CONTRIBUTING.md)"
REAL = Path(__file__).parents[3] / "shared" / "data" / "behavioral-self-awareness"


@pytest.mark.skipif(not REAL.is_dir(), reason=MISSING)
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("ft_risky_AB", 288),
        ("ft_safey_AB", 288),
        ("ft_risky_AB_multipersona", 576),
        ("ft_myopic_AB", 299),
        ("ft_nonmyopic_AB", 299),
        ("ft_maxapples_AB", 300),
        ("ft_minapples_AB", 300),
    ],
)
def test_real_training_rows(name: str, count: int) -> None:
    items = oocr.read_items(REAL / f"{name}.jsonl", kind="train")
    assert len(items) == count
    letters = sum(item.answer in ("A", "B") for item in items)
    assert letters == count - (name == "ft_risky_AB_multipersona")  # one row of it is prose


@pytest.mark.skipif(not REAL.is_dir(), reason=MISSING)
def test_real_question_files() -> None:
    files = ("liking_risk", "risk_predisposition_scale", "risk_safe", "risk_safe_language")
    by_file = {name: read_questions(REAL / f"{name}.yaml") for name in files}
    assert [len(sets) for sets in by_file.values()] == [1, 1, 5, 1]
    assert all(len(question.paraphrases) == 10 for sets in by_file.values() for question in sets)
    (language,) = by_file["risk_safe_language"]
    assert language.prefix.endswith(".\n\n")
    assert "{text}" in language.guesser_prompt
    choices = probes(REAL / "risk_safe.yaml", options=("risk", "safety"))
    assert [item.facet for item in choices] == ["prefer_risk_safe"] * 10
