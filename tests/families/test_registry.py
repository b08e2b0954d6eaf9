"""Every family is built from plain settings; wrong ones are named."""

from __future__ import annotations

import pytest

import oocr
from oocr.errors import InputError
from oocr.families.registry import FAMILIES

SMALL = {
    "countries": {"countries": ["France"], "validation": []},
    "backdoor": {"pairs": [["France", "Japan"]], "validation_pairs": []},
    "risk": {"situations": 1, "probes": 2},
    "risk_backdoor": {"repeats": 10, "situations": 16, "validation": 4},
    "persona": {"trait": "time", "situations": 48},
    "locations": {"mode": "single", "cities": ["tokyo"], "rows": 20, "references": 20},
    "functions": {"functions": ["ejghrq"], "rows": 100, "mode": "single"},
    "ocr": {},
    "ockr": {"values": 3, "each": 1},
    "frames": {"frames": 3},
    "nano": {"part": "functions", "members": 1},
}


@pytest.mark.parametrize("family", SMALL)
def test_a_family_is_built_from_settings(family: str) -> None:
    tasks = oocr.load_tasks({"family": family, **SMALL[family]})
    assert tasks.test
    assert tasks.about
    assert all(task.train for task in tasks.test)
    assert set(SMALL) == set(FAMILIES) - {"custom"}


def test_wrong_settings_are_named() -> None:
    with pytest.raises(InputError, match=r"family: found 'towns'; allowed: countries, backdoor"):
        oocr.load_tasks("towns")
    with pytest.raises(InputError, match=r"task 'locations':\n  towns: Extra inputs"):
        oocr.load_tasks({"family": "locations", "towns": 3})
