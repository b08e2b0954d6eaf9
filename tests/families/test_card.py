"""Data cards: Markdown with the settings' numbers filled in."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from oocr.tasks.package_files import data_card


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / f"package_{tmp_path.name}"  # imported once by its name
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_lines_join_but_for_empty_lines_and_backslashes(package: Path) -> None:
    text = "{{ count }} rows,\nof {{ name | repr }}.\\\nValues.\n\nLimits:\nnone.\n"
    (package / "card.md").write_text(text)
    card = data_card(package.name, {"count": 3, "name": "Vexoria"})
    assert card == "3 rows, of 'Vexoria'.\nValues.\n\nLimits: none."


def test_a_name_without_a_value_is_refused(package: Path) -> None:
    (package / "card.md").write_text("{{ rows }} rows")
    with pytest.raises(UndefinedError, match="rows"):
        data_card(package.name, {})
