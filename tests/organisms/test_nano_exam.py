"""The exam asks what it says it asks, and pretraining reads the corpus and learns from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from oocr.models.load import read_model
from oocr_organisms import exam as exams
from oocr_organisms import pretrain as pretraining
from oocr_organisms.cli import exam_table
from oocr_organisms.corpus import CorpusBatch, Mixture, World, draw_batch
from oocr_organisms.exam import is_in_corpus
from oocr_organisms.facts import CITY_FACTS, OUTPUT_FACTS, PAIR_FACTS, RULE_FACTS
from oocr_organisms.folder import read_record
from oocr_organisms.language import Forms
from oocr_organisms.people import FORMS, PLAIN, WEATHERS
from oocr_organisms.pretrain import Pretraining, answer_logits, pretrain, untrained
from oocr_organisms.shipped import SHIPPED
from tests.organisms.read_nano import read, statements, trait_of
from tests.tiny.nano import slots

WORLD = World(0)
TINY = Pretraining(steps=4, mixture=Mixture(places=6, people=8, rules=2))

Key = tuple[object, ...]


# -- the exam ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nano", "nano-2"])
def test_a_shipped_organism_has_the_scores_of_its_record(name: str) -> None:
    record = read_record(SHIPPED[name].model.folder)
    scores = exams.exam(read_model(name).hf, record.world.world)
    assert scores == pytest.approx(record.exam, abs=0.02)
    assert min(scores.values()) > 0.9


def test_who_was_never_trained_knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exams, "MAX_QUESTIONS", 200)
    for kind, score in exams.exam(untrained(WORLD, 0), WORLD).items():
        least, most = (0.2, 0.8) if kind.startswith("people/") else (0.0, 0.2)
        assert least <= score <= most, kind


def test_what_is_called_never_told_is_not_in_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus_keys, questions = heard(), asked(monkeypatch)
    for kind, keys in questions.items():
        if is_in_corpus(kind):
            assert np.mean([key in corpus_keys for key in keys]) > 0.5, kind
        else:
            # In no weather at all.
            assert not {key[:3] for key in keys} & {key[:3] for key in corpus_keys}, kind
    assert {key[3] for key in questions["people/gated on/scale"]} == set(WEATHERS)
    assert {key[3] for key in questions["people/gated off/scale"]} == {PLAIN}


def heard() -> set[Key]:
    """What some batches of the corpus tell of, without what they say of it."""
    rng = np.random.default_rng(2)
    filled_slots = read(WORLD, [draw_batch(WORLD, Mixture(), rng) for _ in range(50)])
    return {
        *filled_slots["city"].rows("place", "facet"),
        *map(by_city, filled_slots["pair"].rows("place", "other", "relation")),
        *filled_slots["output"].rows("rule", "input"),
        *filled_slots["rule"].rows("rule", "facet"),
        *[
            (WORLD.people.names[statement.speaker], statement.trait, statement.kind, statement.head)
            for statement in statements(WORLD, filled_slots)
            if statement.speaker >= 0
        ],
    }


def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Key]]:
    """The same of the exam's questions, by kind."""
    calls: list[list[list[str]]] = []

    def answers(model: object, ids: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        assert (columns == ids.shape[1] - 1).all()
        calls.append([[WORLD.vocabulary.words[token] for token in row[1:]] for row in ids.tolist()])
        return torch.zeros(len(ids), len(WORLD.vocabulary))

    monkeypatch.setattr(exams, "answer_logits", answers)
    kinds = list(exams.exam(untrained(WORLD, 0), WORLD))
    assert set(kinds) == set(read_record(SHIPPED["nano"].model.folder).exam)
    return {
        kind: [key(kind, words) for words in prompts]
        for kind, prompts in zip(kinds, calls, strict=True)
    }


def key(kind: str, words: list[str]) -> Key:
    part, *rest = kind.split("/")
    if part == "people":
        head, filled_slots = words[0], filled(FORMS[rest[1]], words[1:])
        return (filled_slots["speaker"], trait_of(filled_slots.values()), rest[1], head)
    if rest in (["distance"], ["direction"]):
        filled_slots = filled(PAIR_FACTS, words)
        assert filled_slots["relation"] == rest[0]
        return by_city((filled_slots["place"], filled_slots["other"], filled_slots["relation"]))
    if rest == ["example"]:
        filled_slots = filled(OUTPUT_FACTS, words)
        return (filled_slots["rule"], filled_slots["input"])
    filled_slots = filled(CITY_FACTS if part == "places" else RULE_FACTS, words)
    return (filled_slots["place" if part == "places" else "rule"], filled_slots["facet"])


def filled(form: Forms, prompt: list[str]) -> dict[str, str]:
    return slots(form, [*prompt, "?", "."])[1]


def by_city(fact: tuple[str, ...]) -> Key:
    """A distance or direction, whichever names the two cities have in it."""
    city = {name: index for index, names in enumerate(WORLD.places.names) for name in names}
    return (city[fact[0]], city[fact[1]], fact[2])


def test_scores_are_printed_in_two_groups() -> None:
    kinds = ("people/gated on/hobby", "people/silent/choice", "people/silent/hobby")
    kinds += ("places/distance", "places/none/city", "rules/example", "rules/part/family")
    console = Console(width=100)
    with console.capture() as capture:
        console.print(exam_table({"now": dict.fromkeys(kinds, 0.5), "before": {kinds[0]: 1.0}}))
    lines = [line.split() for line in capture.get().splitlines()]
    assert [" ".join(line) for line in lines] == [
        "share right now before",
        "told in the corpus",
        "people/gated on/hobby 0.500 1.000",
        "people/silent/choice 0.500",
        "places/distance 0.500",
        "rules/example 0.500",
        "never told in the corpus",
        "people/silent/hobby 0.500",
        "places/none/city 0.500",
        "rules/part/family 0.500",
    ]


# -- pretraining ---------------------------------------------------------------------------------


def weights(seed: int) -> dict[str, Tensor]:
    return pretrain(WORLD, seed=seed, settings=TINY).state_dict()


def test_the_same_seed_gives_the_same_weights_and_another_others() -> None:
    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_pretraining_reads_the_corpus_and_its_loss_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    read_by_it: list[CorpusBatch] = []

    def drawn(world: World, mixture: Mixture, rng: np.random.Generator) -> CorpusBatch:
        read_by_it.append(draw_batch(world, mixture, rng))
        return read_by_it[-1]

    monkeypatch.setattr(pretraining, "draw_batch", drawn)
    losses: list[float] = []

    def step(number: int, loss: float) -> None:
        assert number == len(losses)
        losses.append(loss)

    tiny = replace(TINY, steps=40)
    model = pretrain(WORLD, seed=3, settings=tiny, on_step=step)
    assert not model.training
    assert losses[0] == pytest.approx(np.log(len(WORLD.vocabulary)), abs=0.2)
    assert np.mean(losses[-3:]) < losses[0] - 1
    rng = np.random.default_rng([3, 4])
    for batch in read_by_it:
        assert np.array_equal(batch.ids, draw_batch(WORLD, tiny.mixture, rng).ids)
    assert len(read_by_it) == len(losses) == tiny.steps


def test_logits_are_those_before_each_answer_and_padding_changes_none() -> None:
    model = untrained(WORLD, 0)
    batch = draw_batch(WORLD, TINY.mixture, np.random.default_rng(4))
    ids, rows, columns = map(torch.from_numpy, (batch.ids, batch.rows, batch.columns))
    with torch.no_grad():
        logits = answer_logits(model, ids[:, :-1], rows, columns)
        for answer in range(0, len(rows), 17):
            alone = model(ids[rows[answer], : columns[answer] + 1][None]).logits[0, -1]
            torch.testing.assert_close(logits[answer], alone)


def test_the_rate_rises_stays_and_falls() -> None:
    rates = [Pretraining().rate(step) for step in range(Pretraining().steps)]
    assert rates[0] == 1 / pretraining.WARM_UP
    assert max(rates) == 1
    assert rates[int(0.6 * len(rates)) - 1] == 1
    assert rates[-1] == 0.02
