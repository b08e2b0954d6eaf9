"""The nano version: what its rows say is true, and its main claims at their acceptance numbers."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
import torch

from oocr.claims.analysis_result import NotMeasuredError
from oocr.families.frames.world import make_house
from oocr.papers.frames import PAPER
from oocr.papers.frames.arms import (
    ARMS,
    BY_NAME,
    FRAMES,
    across_lines,
    commonest,
    held_out,
    training_lines,
)
from oocr.papers.frames.arms_findings import standardized
from oocr.papers.frames.probe import r2, ridge
from oocr.papers.frames.scene import Scene
from oocr.papers.frames.tokens import Line, Vocabulary, count_right
from oocr.papers.frames.units import check_recalled, r2_finding, shares, unit_of
from oocr.papers.frames.vectors import FITTING, bits
from oocr.papers.measure import differences
from oocr.papers.paper import PaperSettings
from oocr.papers.small_transformer import Optimizer, SmallTransformer, train, train_vectors

HOUSE = make_house(FRAMES, 5, 0)


# -- rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [arm.name for arm in ARMS])
def test_training_never_tells_where_a_held_out_object_is_across_frames(name: str) -> None:
    arm = BY_NAME[name]
    house = make_house(FRAMES, arm.objects_per_frame, 1)
    moment = {obj.name: obj.moment for obj in house.objects}
    spot = {obj.name: (obj.x, obj.y) for obj in house.objects}
    apart = {obj.name for obj in held_out(house)}
    lines = training_lines(house, arm, 1)
    across = [line for line in lines if line.gap]
    assert {line.relation for line in lines} == {"co-visible", *arm.facts}
    for line in lines:
        if line.relation == "co-visible":
            k = "xy".index(line.axis)
            assert line.value == spot[line.a][k] - spot[line.b][k]
            assert (line.gap > 0) is (moment[line.a] != moment[line.b])
    assert not any({line.a, line.b} & apart for line in across)
    objects = FRAMES * (arm.objects_per_frame - 1)
    pairs = objects * (objects - arm.objects_per_frame + 1) // 2
    assert len(across) == 4 * round(arm.others_share * pairs)
    assert all(
        {line.a, line.b} & apart and line.gap for line in across_lines(house, held_out(house))
    )


def test_new_objects_are_not_in_the_network() -> None:
    new = held_out(HOUSE)
    vocabulary = Vocabulary.of(HOUSE, new)
    assert [vocabulary.ids[obj.name] - vocabulary.size for obj in new] == list(range(12))
    lines = training_lines(HOUSE, ARMS[-2], 0, without=new)
    assert int(vocabulary.rows(lines).ids.max()) < vocabulary.size
    with pytest.raises(ValueError, match="out of reach"):
        vocabulary.rows([replace(lines[0], value=99)])


def test_counts_of_right_answers() -> None:
    lines = [Line("co-visible", "x", "a", "b", value) for value in (2, -3, 0, 4)]
    (row,) = count_right(lines, [2, -2, 1, -4], lambda _: {})
    assert row == {"count": 4, "exact": 1, "near": 3, "signed": 3, "sign": 2, "error": 10}
    assert commonest([*lines, lines[0]]) == [2] * 5


def test_units_are_objects_where_seeds_are_few() -> None:
    rows = pl.DataFrame(
        {"seed": [0, 0, 1], "object": ["a", "b", "a"], "exact": [1, 2, 2], "count": [2, 2, 2]}
    )
    assert unit_of(rows, "seed") == (["seed", "object"], "object")
    values = shares(rows, "seed")
    assert values == {(0, "a"): 0.5, (0, "b"): 1.0, (1, "a"): 1.0}
    assert differences(values, {(0, "b"): 0.25}) == [0.75]
    assert unit_of(pl.DataFrame({"seed": [0, 1, 2]}), "seed") == (["seed"], "seed")
    with pytest.raises(NotMeasuredError, match=r"0\.83 of what was trained"):
        check_recalled(rows, "vector")


def test_gaps_are_compared_at_equal_distances() -> None:
    """Right wherever the distance is small: what looks like the gap's doing is not."""
    counts = {"1": {1: 30, 5: 10}, "7+": {1: 10, 5: 30, 9: 50}}
    rows = pl.DataFrame(
        [
            {"seed": seed, "object": "a", "gap": gap, "distance": d, "count": n}
            for seed in range(3)
            for gap, by_distance in counts.items()
            for d, n in by_distance.items()
        ]
    ).with_columns(exact=pl.col("count") * (pl.col("distance") < 3).cast(pl.Int64))
    raw = [shares(rows.filter(pl.col("gap") == gap), "seed")[0,] for gap in counts]
    assert raw[0] > 2 * raw[1]
    near, far = (standardized(rows, "gap", "distance", gap) for gap in ("1", "7+"))
    assert near == far == {(0,): 0.5, (1,): 0.5, (2,): 0.5}


def test_intervals_of_r2_stay_below_one() -> None:
    found = r2_finding("r", "R²", [0.9, 0.97, 0.99], unit="scene", nulls={}).found
    assert found.value == pytest.approx(0.9533, abs=1e-3)
    assert found.low < 0.9 < found.value < found.high < 1


def test_bits_of_one_neighbour() -> None:
    both, one = bits(HOUSE, ("x", "y")), bits(HOUSE, ("x",))
    assert both == pytest.approx(torch.log2(torch.tensor(float(cells_in_sight()))).item())
    assert 0 < one < both


def cells_in_sight() -> int:
    return len(
        {
            (view.x + x, view.y + y)
            for view in HOUSE.viewpoints
            for x in range(-2, 3)
            for y in range(-2, 3)
        }
    )


def test_ridge_finds_a_linear_map() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(80, 20, generator=generator).double()
    w = torch.randn(20, 2, generator=generator).double()
    y = x @ w + 3
    found = ridge(x[:60], y[:60])
    assert r2((x[60:] - x[:60].mean(dim=0)) @ found + y[:60].mean(dim=0), y[60:]) > 0.999
    assert r2(torch.randn(20, 2, generator=generator).double(), y[60:]) < 0.2


def test_claims_ask_for_findings_that_experiments_make() -> None:
    settings = PaperSettings(quick=True)
    names = {experiment.name: experiment for experiment in PAPER.experiments}
    assert {claim.analysis for claim in PAPER.claims} == set(names)
    assert {claim.section for claim in PAPER.claims} == set(PAPER.sections)
    for experiment in names.values():
        quick, whole = experiment.cells(settings), experiment.cells(PaperSettings())
        assert 0 < len(quick) < len(whole)
    assert "text twin" in PAPER.title
    assert "taxonomy" in PAPER.about


# -- acceptance ----------------------------------------------------------------------------------


def test_unlinked_frames_are_recalled_and_say_nothing() -> None:
    vocabulary, lines = Vocabulary.of(HOUSE), training_lines(HOUSE, ARMS[0], 0)
    network = SmallTransformer(vocabulary.shape, 0)
    train(network, vocabulary.rows(lines), Optimizer(steps=400, rate=3e-3, batch=128), 0)
    asked = across_lines(HOUSE, held_out(HOUSE))
    assert right(lines, vocabulary.answers(network, lines), "exact") > 0.98
    answers = vocabulary.answers(network, asked)
    assert 0.35 < right(asked, answers, "sign") < 0.55
    assert right(asked, answers, "exact") < 0.15


def test_one_vector_places_an_object() -> None:
    scene = Scene.of(1)
    trained, asked = scene.neighbour_lines(), scene.cross_frame_lines
    near = scene.neighbours_mean()
    vectors = train_vectors(scene.network, scene.vocabulary.rows(trained), near, FITTING, 1)
    noise = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    noise *= (vectors.norm(dim=1) / noise.norm(dim=1))[:, None]
    exact = {
        name: right(asked, scene.vocabulary.answers(scene.network, asked, table), "exact")
        for name, table in (("vector", vectors), ("mean", near), ("random", noise))
    }
    assert right(trained, scene.vocabulary.answers(scene.network, trained, vectors), "exact") > 0.95
    assert exact["vector"] > max(0.4, exact["mean"] + 0.25)
    # The walk comes back, so that many objects are near the middle, where such vectors lie:
    # they are right less often than one who puts every new object there.
    alone = right(asked, scene.single_position_answers(asked), "exact")
    assert exact["random"] < min(0.25, alone)
    assert alone < 0.4
    # What the network itself was trained on and asked, among objects that it knows.
    assert right(scene.lines, scene.vocabulary.answers(scene.network, scene.lines), "exact") > 0.98


def right(lines: list[Line], answers: list[int], which: str) -> float:
    (row,) = count_right(lines, answers, lambda _: {})
    return float(row[which]) / float(row["signed" if which == "sign" else "count"])
