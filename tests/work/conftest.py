"""What tests of work at an address share."""

from __future__ import annotations

import pytest

from tests.work.exclusive import Exclusive, exclusive_store


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> type[Exclusive]:
    """An empty object store in memory."""
    return exclusive_store(monkeypatch)
