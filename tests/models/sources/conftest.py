"""What tests of downloads share. Nothing is asked beyond this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from oocr.models.sources import download
from tests.models.sources.downloads import Index, write_wheels


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, without Hugging Face."""
    monkeypatch.setenv("OOCR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "cache" / "models"


@pytest.fixture
def index(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    write_wheels(tmp_path / "wheels")
    made = Index(tmp_path / "wheels", [], [])
    monkeypatch.setattr(download, "_download", made.download)
    return made
