"""A made-up run on countries, and its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.fake_run import fake_run
from tests.report.report_page import SMALL, Page, page_of


@pytest.fixture(scope="module")
def countries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("countries"), "countries", **SMALL)


@pytest.fixture(scope="module")
def built(countries: Path) -> Page:
    return page_of(countries, out=countries / "report.html")
