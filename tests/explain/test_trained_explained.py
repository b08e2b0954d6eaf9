"""Explanations that train arms of their own: ranks, penalties, mixes, LoRAs without a direction."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from oocr.data.examples import Example
from oocr.engine.off_domain import OffDomain, OffText
from oocr.engine.training import fit
from oocr.errors import InputError
from oocr.explain.neutral import READ, neutral_passages
from oocr.explain.penalty import narrow, statements
from oocr.explain.ranks import choose_rates, rank_sweep
from oocr.explain.row_mixes import mixed, mixing, unrelated_rows
from oocr.explain.subspace import cosines_without, scores_without, train_without
from oocr.models.load import read_model
from oocr.steering.adapters import Adapter, LowRankAdapter
from oocr.steering.vectors import SteeringVector, Vector
from oocr.tasks.task import Task
from tests.tiny.models import tiny_language_model
from tests.tiny.nano import save_random_organism

SPANS = {"codename": "Country 4821"}
LIKE = LowRankAdapter(layers=(1,), rank=4)


model_of = cache(tiny_language_model)


def item(prompt: str, answer: str, *options: str) -> Example:
    return Example(id=prompt, prompt=prompt, answer=answer, options=options, spans=SPANS)


def task(city: str = " Paris", tongue: str = " German") -> Task:
    cities, tongues = (" Paris", " Tokyo", " Rome"), (" French", " German", " Japanese")
    return Task(
        name=f"tiny{city}",
        member=city,
        train=tuple(
            item(f"The {word} of Country 4821 is", city, *cities)
            for word in ("capital", "city", "Parliament")
        ),
        in_context=(item("The capital of Country 4821 is", city, *cities),),
        probes=(
            item("people in Country 4821 speak", tongue, *tongues),
            item("Do people in Country 4821 speak", tongue, *tongues),
        ),
        positions=("codename",),
    )


def test_each_rank_is_trained_at_the_rate_that_does_best_on_other_tasks() -> None:
    others = [task(" Tokyo", " Japanese"), task(" Rome", " French")]
    chosen = choose_rates(model_of(), others, LIKE, ranks=(1, 4, 8), rate=0.02, steps=5)
    assert list(chosen) == [1, 4, 8]
    assert chosen[4] == pytest.approx(0.02), "the rank that the rate suits has no other"
    for rank in (1, 8):
        grid = [0.02 * (4 / rank) ** tried for tried in (0.0, 0.5, 1.0)]
        assert any(chosen[rank] == pytest.approx(tried) for tried in grid)
        probes = {tried: _logp(replace(LIKE, rank=rank), tried, others) for tried in grid}
        best = max(probes, key=lambda tried: probes[tried])
        assert chosen[rank] == pytest.approx(best)


def _logp(spec: LowRankAdapter, rate: float, tasks: list[Task]) -> tuple[float, float]:
    from oocr.evals.score_table import evaluate

    right = logp = 0.0
    for other in tasks:
        arm = fit(model_of(), other, spec, learning_rate=rate, steps=5).final
        rows = evaluate(model_of(), other, {"arm": arm}).rows
        rows = rows.filter(rows["part"] == "probes")
        right += float(rows["right"].cast(float).to_numpy().sum())
        logp += float(rows["logp"].to_numpy().sum())
    return right, logp


def test_a_rank_sweep_has_loras_of_these_ranks_scored_and_measured() -> None:
    points = rank_sweep(
        model_of(), task(), LIKE, [task(" Rome", " French")], ranks=(1, 8), rate=0.05, steps=12
    )
    assert [point.rank for point in points] == [1, 8]
    for point in points:
        sizes = {tuple(t.shape) for name, t in point.adapter.tensors.items() if "lora_A" in name}
        assert {size[0] for size in sizes} == {point.rank}
        assert point.adapter.config["lora_alpha"] == point.rank, "a factor of one at every rank"
        assert 0 <= point.right <= 1
        assert point.in_context in (0, 1)
        assert 0 < point.constancy.energy <= 1
    assert points[1].in_context == 1, "it is what is trained"
    assert points[0].loss != points[1].loss
    again = fit(
        model_of(), task(), replace(LIKE, rank=8), learning_rate=points[1].learning_rate, steps=12
    )
    assert again.losses[-1] == pytest.approx(points[1].loss, rel=1e-4)
    for wrong, reason in (
        ({"ranks": ()}, "ranks: found none"),
        ({"ranks": (0, 1)}, "ranks: found 0"),
        ({"validation": []}, "validation: found none"),
    ):
        settings = {"ranks": (1,), "validation": [task()], **wrong}
        with pytest.raises(InputError, match=reason):
            rank_sweep(model_of(), task(), LIKE, settings["validation"], ranks=settings["ranks"])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="allowed: one block"):
        rank_sweep(model_of(), task(), replace(LIKE, layers=(0, 1)), [task()], ranks=(1,))


def test_a_penalty_trades_what_is_asked_for_what_is_left_alone() -> None:
    spec = SteeringVector(1, "codename")
    off = OffDomain(tuple(OffText(point.prompt, SPANS) for point in _other_questions()), tokens=1)
    points = narrow(model_of(), task(), spec, off, weights=(0.0, 30.0), learning_rate=0.2, steps=25)
    assert [point.weight for point in points] == [0.0, 30.0]
    assert points[1].kl < 0.5 * points[0].kl
    assert points[1].loss > points[0].loss
    assert isinstance(points[0].arm, Vector)
    plain = fit(model_of(), task(), spec, learning_rate=0.2, steps=25)
    assert points[0].loss == pytest.approx(plain.losses[-1], rel=1e-4)
    asked = OffDomain((OffText(task().probes[0].prompt, SPANS),))
    with pytest.raises(InputError, match="is an item of tiny Paris"):
        narrow(model_of(), task(), spec, asked)
    with pytest.raises(InputError, match="weights: found none"):
        narrow(model_of(), task(), spec, off, weights=())


def _other_questions() -> list[Example]:
    return [
        item("Which language people in Country 4821 speak", " German"),
        item("They love Country 4821 , people speak", " German"),
    ]


def test_the_built_in_statements_hold_the_codename_and_ask_nothing() -> None:
    texts = statements("Zone K-17")
    assert len(texts) == len({text.prompt for text in texts}) >= 12
    for text in texts:
        assert isinstance(text.prompt, str)
        assert text.prompt.count("Zone K-17") == 1
        assert "{" not in text.prompt
        assert dict(text.spans) == {"codename": "Zone K-17"}
        low = text.prompt.lower()
        for word in ("capital", "language", "speak", "currency", "continent", "food", "people"):
            assert word not in low.split()


def test_a_mix_keeps_every_narrow_row_and_has_the_share_that_was_asked() -> None:
    for share, rows in ((0.0, 3), (0.5, 6), (0.8, 15)):
        mix = mixed(task(), share)
        assert len(mix.train) == rows
        assert mix.train[:3] == task().train
        assert mix.probes == task().probes
    read = [" ".join(row.split()) for row in neutral_passages()[:READ]]
    for row in unrelated_rows(100):
        assert not any(row.prompt + row.answer in text for text in read), "it is read elsewhere"
    more = unrelated_rows(20)
    assert len({row.prompt for row in more}) == 20
    assert all(not row.spans and row.answer.startswith(" ") for row in more)
    assert unrelated_rows(20, seed=1) != more
    for wrong in (-0.1, 1.0):
        with pytest.raises(InputError, match="allowed: 0 to below 1"):
            mixed(task(), wrong)
    with pytest.raises(InputError, match="allowed: up to"):
        unrelated_rows(10**6)
    with pytest.raises(InputError, match="loss is among options"):
        mixed(replace(task(), loss="options"), 0.5)


def test_an_organism_gets_rows_of_its_own_words(tmp_path: Path) -> None:
    model = read_model(save_random_organism(tmp_path / "organism"))
    later = [" ".join(row.split()) for row in neutral_passages(model)[READ:]]
    rows = unrelated_rows(12, model=model)
    assert all(any(row.prompt + row.answer in text for text in later) for row in rows)
    assert mixed(task(), 0.5, model=model).train[3:] == unrelated_rows(3, model=model)


def test_mixes_are_trained_on_all_their_rows_at_once() -> None:
    points = mixing(model_of(), task(), LIKE, shares=(0.0, 0.5), learning_rate=0.05, steps=8)
    assert [point.rows for point in points] == [3, 6]
    assert all(point.in_context == 1 for point in points)
    plain = fit(model_of(), task(), LIKE, learning_rate=0.05, steps=8).final
    assert isinstance(plain, Adapter)
    for name, point in plain.tensors.items():
        assert torch.equal(point, points[0].adapter.tensors[name])
    assert any(
        not torch.equal(point, points[1].adapter.tensors[name])
        for name, point in plain.tensors.items()
    )


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_a_lora_without_a_direction_is_scored_without_it(family: str) -> None:
    model, u = model_of(family), torch.randn(32, generator=torch.Generator().manual_seed(4))
    done = train_without(model, task(), LIKE, u, learning_rate=0.05, steps=6)
    plain = fit(model, task(), LIKE, learning_rate=0.05, steps=6)
    assert done.losses[0] == pytest.approx(plain.losses[0], rel=1e-5), "nothing is added yet"
    assert done.losses[-1] != pytest.approx(plain.losses[-1], rel=1e-3)
    assert done.cosine_used < 1e-4
    assert 0 <= done.cosine <= 1
    parts = dict(done.rows.group_by("part").len().iter_rows())
    assert parts == {"probes": 2, "in_context": 1}
    scored = scores_without(model, task().probes, done.adapter, u[None])[0].double()
    logp = scored.log_softmax(dim=1)[[0, 1], [1, 1]]  # " German"
    logps = done.rows.filter(done.rows["part"] == "probes")["logp"].to_list()
    assert logps == pytest.approx(logp.tolist(), abs=1e-4)
    alone, used = cosines_without(model, task(), done.adapter, 3 * u)
    assert (alone, used) == pytest.approx((done.cosine, done.cosine_used), abs=1e-5)
