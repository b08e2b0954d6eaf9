"""Fixtures of several audit tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.audit.test_audit import TEXTS
from tests.tiny.runs import save_tiny_model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    save_tiny_model(home / "base")
    (home / "texts.txt").write_text("\n\n".join(TEXTS), encoding="utf-8")
    return home
