"""`load_task` serves every family; what it does not know is refused with what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

import oocr
from oocr.errors import InputError
from oocr.families.registry import FAMILIES

SMALL = {"rows": 20, "references": 20, "held_out": 4}
LOADED: list[tuple[str, dict[str, Any], str]] = [
    ("countries", {}, "Japan"),
    ("countries", {"country": "Peru", "train": "borders", "codename": "Vexoria"}, "Peru"),
    ("locations", {"city": "tokyo", "settings": SMALL}, "Tokyo"),
    ("locations", {"member": "Sao Paulo", "settings": SMALL}, "Sao Paulo"),
    ("functions", {"function": "yubxel", "settings": {"rows": 100}}, "yubxel"),
    ("risk", {"direction": "safe"}, "safe"),
    ("persona", {"direction": "myopic"}, "myopic"),
    ("risk_backdoor", {"member": "win", "settings": {"repeats": 10}}, "win"),
    ("backdoor", {"pair": "Peru|Greece"}, "Peru|Greece"),
    ("ocr", {}, "Magnus Yarrow"),
    ("ockr", {}, "35 people"),
    ("frames", {}, "18 objects"),
    ("nano", {"settings": {"part": "risk"}}, "risky"),
]


@pytest.mark.parametrize(("family", "arguments", "member"), LOADED)
def test_one_task_of_a_family(family: str, arguments: dict[str, Any], member: str) -> None:
    task = oocr.load_task(family, **arguments)
    assert task.member == member
    assert task.train


def test_every_family_with_data_of_its_own_is_among_them() -> None:
    assert {family for family, _, _ in LOADED} == set(FAMILIES) - {"custom"}


def test_a_user_s_own_task(tmp_path: Any) -> None:
    rows = "\n".join(f'{{"prompt": "Row {n} of Zorb is", "answer": " {n}"}}' for n in range(6))
    (tmp_path / "train.jsonl").write_text(rows)
    probe = '{"prompt": "Zorb is a", "answer": " cat", "options": [" cat", " dog"]}'
    (tmp_path / "probes.jsonl").write_text(probe)
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("train", "probes")}
    assert oocr.load_task("custom", settings={"name": "zorb", **files}).member == "zorb"


@pytest.mark.parametrize(
    ("family", "arguments", "message"),
    [
        ("towns", {}, "task 'towns': allowed are 'countries', 'backdoor'"),
        ("risk", {"country": "Japan"}, "country: .* picked by direction or member"),
        ("risk", {"direction": "safe", "member": "safe"}, "member and direction name the same"),
        ("risk", {"direction": "bold"}, "direction 'bold': allowed are 'risky', 'safe'"),
        ("locations", {"city": "Rome"}, "cities.0: Input should be 'paris', 'sao_paulo'"),
        ("countries", {"country": "Narnia"}, "unknown country 'Narnia'; known: "),
        ("risk", {"settings": {"trait": "time"}}, "task 'risk':\n  trait: Extra inputs"),
        ("risk", {"codename": "Vexoria"}, "codename: Extra inputs"),
    ],
)
def test_what_is_unknown_is_refused(family: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        oocr.load_task(family, **arguments)
