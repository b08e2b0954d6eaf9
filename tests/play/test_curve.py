"""Scores against strength: the run's own at strength 1, in an order that is worth watching."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from oocr import stats
from oocr.evals.scores import Scoring
from oocr.play.curve import BAND, DIRECTIONS, STRENGTHS, curve_events
from oocr.play.sources import Playground
from oocr.runs.folder import RunFolder
from tests.play.page import Client, of_type


@pytest.mark.parametrize("kind", ["vector", "LoRA"])
def test_at_strength_1_it_is_the_runs_own_score(
    client: Client, play: Playground, kind: str
) -> None:
    probe_set = next(iter(play.probe_sets.values()))
    source = play.sources[probe_set.arms[kind]]
    preset = next(iter(probe_set.by_id))
    events = client.events("curve", steering=source.own_use.model_dump(), preset=preset)
    points = {event["strength"]: event for event in of_type(events, "point")}
    assert list(points) == list(STRENGTHS)
    folder = RunFolder(source.path.parents[2])
    rows = folder.rows
    assert rows is not None
    own = rows.filter(part="probes", member=probe_set.task.member, final=True, control="")
    base, arm = own.filter(arm="base"), "vector" if kind == "vector" else "adapter"
    cells = Scoring.of(probe_set.task).score(own.filter(pl.col("seed") == 0, arm=arm), base)
    assert cells is not None
    assert points[1.0]["score"] == pytest.approx(stats.mean(cells))
    untouched = Scoring.of(probe_set.task).score(base, base)
    assert untouched is not None
    about = of_type(events, "about")[0]
    assert points[0.0]["score"] == about["untouched"] == pytest.approx(stats.mean(untouched))
    assert about["n"] == len(probe_set.task.probes)
    example = probe_set.by_id[preset]
    (row,) = own.filter(pl.col("seed") == 0, arm=arm, item=example.id).iter_rows(named=True)
    assert points[1.0]["question"] == pytest.approx(2.718281828459045 ** row["logp"], rel=1e-3)
    bands = of_type(events, "band")
    assert [len(band["scores"]) for band in bands] == [DIRECTIONS] * len(BAND) * (kind == "vector")


def test_the_place_is_the_pages(client: Client, play: Playground) -> None:
    probe_set = next(iter(play.probe_sets.values()))
    own = play.sources[probe_set.arms["vector"]].own_use.model_dump()
    preset = next(iter(probe_set.by_id))

    def questions(**change: str) -> list[float]:
        events = client.events("curve", steering={**own, **change}, preset=preset)
        return [event["question"] for event in of_type(events, "point")]

    last, span = (
        questions(positions="last", span=""),
        questions(positions="span", span="Country 4821"),
    )
    nowhere = questions(positions="span", span="Atlantis")
    assert last != span
    assert len(set(nowhere)) == 1


def test_an_unknown_question_or_vector_is_said(client: Client, play: Playground) -> None:
    own = next(iter(play.sources.values())).own_use.model_dump()
    preset = next(iter(next(iter(play.probe_sets.values())).by_id))
    for steering, asked, words in (
        (own, "nobody asked", "'nobody asked': no such question"),
        ({**own, "id": "x"}, preset, "'x': not loaded here"),
    ):
        (event,) = client.events("curve", steering=steering, preset=asked)
        assert event["type"] == "error"
        assert words in event["message"]


def test_a_question_that_does_not_count_is_not_counted(play: Playground) -> None:
    id, probe_set = next(iter(play.probe_sets.items()))
    scoring = probe_set.scoring.model_copy(update={"counted": {"people": "people"}})
    people_only = replace(play, probe_sets={id: replace(probe_set, scoring=scoring)})
    preset = next(name for name, x in probe_set.by_id.items() if x.facet == "language")
    use = play.sources[probe_set.arms["vector"]].own_use
    about = next(curve_events(people_only, use, preset))
    assert about["n"] == about["of"] == 3
