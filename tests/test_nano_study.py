"""The study's numbers are what was measured, and its page has no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.organism import page

from oocr import stats
from oocr.errors import InputError
from oocr.experiments.nano.command import run_study
from oocr.experiments.nano.determined import Told
from oocr.experiments.nano.dial import Reading, Taken
from oocr.experiments.nano.gate import Cut, Nearness
from oocr.experiments.nano.study import Organism, Pressed, Study, study
from oocr.experiments.nano.summary import Table, shown, tables
from oocr.experiments.nano.truth import Likeness, Truth
from oocr.models import shipped


def likeness(cosine: float, rank: int, country: bool, place: float) -> Likeness:
    return Likeness("Velora", cosine, 0.1, rank, 0.5, country, place)


def reading(share: float, energy: float, lora: Taken, swap: Taken) -> Reading:
    arms = {"base": Taken(0.5, 0.5), "adapter": lora, "swap": swap, "vector": Taken(1, share)}
    arms["random"] = Taken(0.5, 0.5)
    kinds = ("crossing", "out-of-context")
    every = {name: dict.fromkeys(kinds, taken) for name, taken in arms.items()}
    return Reading("rain: risk", share, 0, every, 0.4, energy, 0.9)


def organism(name: str, gates: float) -> Organism:
    found = Truth(
        -1,
        0,
        (likeness(0.8, 1, True, 0.2), likeness(0.4, 3, True, 0.6)),
        (likeness(0.0, 20, False, 1.0),),
        (likeness(1.0, 1, True, 0.0),),
        24,
        96,
        0.4,
    )
    pressed = Pressed(
        member="rain: risk",
        cuts=(
            Cut(None, "nothing", 0.8, 0.9),
            Cut(0, "speaker reads weather", 0.0, 0.09),
            Cut(0, "last token reads speaker", 0.4, 0.9),
        ),
        near=(Nearness("risk if snow", -0.6), Nearness("risk if rain", 0.5)),
    )
    told = tuple(
        Told("Velora", count, 48 // 2**count, count, kind, right, 1.0, 0.2)
        for count in (1, 2)
        for kind, right in (("country", count / 2), ("city", 0.0))
    )
    dial = (
        reading(1.0, 0.8, Taken(0.9, 0.9), Taken(0.7, 0.7)),
        reading(0.0, 0.1, Taken(0.9, 0.1), Taken(0.5, 0.5)),
    )
    return Organism(
        name=name,
        gates=gates,
        truth=(found,),
        told=told,
        pressed=(pressed,) if gates else (),
        dial=dial,
    )


STUDY = Study(organisms=(organism("nano", 0.25), organism("nano-ungated", 0.0)))


def table(title: str, of: Study = STUDY) -> Table:
    return next(one for one in tables(of) if title in one.title)


def value(cell: object) -> float:
    assert isinstance(cell, stats.Interval | float)
    return cell.value if isinstance(cell, stats.Interval) else cell


def test_likeness_is_a_mean_over_vectors_and_positions_are_over_the_maps_spread() -> None:
    rows = table("own concept").rows
    assert [row[2] for row in rows] == [
        "found vectors",
        "random directions",
        "real names",
        "by chance",
    ]
    found, random, named, chance = rows
    assert value(found[3]) == pytest.approx(0.6)
    assert value(found[5]) == 0.5  # one of two is the nearest
    assert value(found[8]) == pytest.approx(1.0)
    assert value(random[8]) == pytest.approx(2.5)
    assert value(named[8]) == 0
    assert value(chance[5]) == pytest.approx(1 / 48)


def test_gaps_are_shares_of_the_whole_gap() -> None:
    nothing, weather, speaker = table("Where is the gate").rows
    assert [value(cell) for cell in nothing[2:]] == [1, 1]
    assert [value(cell) for cell in weather[2:]] == pytest.approx([0, 0.1])
    assert [value(cell) for cell in speaker[2:]] == pytest.approx([0.5, 1])


def test_a_gate_is_placed_among_all_concepts() -> None:
    (row,) = table("press the gate").rows
    assert row[-2:] == (0.5, "2 of 2")


def test_a_world_without_gates_has_none_to_press() -> None:
    alone = Study(organisms=(organism("nano-ungated", 0.0),))
    assert not any("gate" in one.title for one in tables(alone))


def test_the_dial_keeps_worlds_apart() -> None:
    rows = table("stop being one vector").rows
    assert [row[:2] for row in rows] == [
        ("gated", "1.00"),
        ("gated", "0.00"),
        ("ungated", "1.00"),
        ("ungated", "0.00"),
    ]
    assert value(rows[0][2]) == pytest.approx(0.8)
    assert value(rows[0][4]) == pytest.approx(0.5)  # .2 of .4, with the trigger and without
    assert value(rows[1][4]) == pytest.approx(0)
    assert value(rows[1][5]) == pytest.approx(0.8)


def test_the_page_has_every_table_and_the_runs_claims(tmp_path: Path) -> None:
    run = tmp_path / "nano-risk-1"
    run.mkdir()
    (run / "config.yaml").write_text("name: nano-risk\nmodel: nano\n")
    claim = {
        "claim": "It tells of itself",
        "verdict": "holds in part",
        "found": {"value": 0.123, "low": 0.1, "high": 0.2, "n": "2"},
        "base": None,
        "nulls": [{"name": "random", "value": 0.05}],
        "ceiling": 0.9,
    }
    (run / "claims.json").write_text(json.dumps([claim]))
    text = page(STUDY, [run])
    for one in tables(STUDY):
        assert one.note in text
        for row in one.rows:
            assert f"| {' | '.join(shown(cell) for cell in row)} |" in text
    assert (
        "| It tells of itself | holds in part | 0.12 [0.10, 0.20] | – | 0.05 random | 0.90 |"
        in text
    )


def test_the_page_keeps_what_was_told_and_what_never_was_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    scores = {"people/gated on/hobby": 0.9, "people/silent/choice": 1.0, "places/none/city": 0.25}
    scores |= {"people/silent/hobby": 0.5, "people/silent/scale": 0.7}
    (tmp_path / "nano").mkdir()
    (tmp_path / "nano" / "world.json").write_text(json.dumps({"steps": 7, "exam": scores}))
    never, told = page(STUDY, []).split("Never told in the")[1].split("Told in the corpus")
    assert "| places/none | people/silent |" in never
    assert "| `nano` | 7 | 0.0 MB | 0.250 | 0.600 |" in never
    assert "| people/gated on | people/silent/choice |" in told
    assert "| `nano` | 7 | 0.0 MB | 0.900 | 1.000 |" in told


def test_a_finished_organism_is_not_asked_again(tmp_path: Path) -> None:
    (tmp_path / "nano.json").write_text(organism("nano", 0.25).model_dump_json())
    found = study(["nano"], tmp_path, on_part=pytest.fail)
    assert found.organisms == (organism("nano", 0.25),)
    again = Study.model_validate_json((tmp_path / "study.json").read_text())
    assert again == found


def test_a_model_that_is_no_organism_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'gemma-3-270m' is no organism; allowed: nano, nano-1"):
        run_study(["gemma-3-270m"], tmp_path / "out", quick=True)
    assert not (tmp_path / "out").exists()
