"""The exam: what an organism knows of its world, in the corpus and beyond the corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers import LlamaForCausalLM

from oocr_organisms.corpus import World
from oocr_organisms.facts import DISTANCES, OUTPUT_FACTS, PAIR_FACTS, Entities
from oocr_organisms.language import BOS, Forms, Ids
from oocr_organisms.people import FORMS, KINDS, PLAIN, WEATHERS
from oocr_organisms.pretrain import answer_logits

MAX_QUESTIONS = 600
"""Largest number of questions of one kind."""

NOT_IN_CORPUS = ("places/part/", "places/none/", "rules/part/", "rules/none/", "people/silent/")
"""Kinds of question: facets not stated under the name, and speakers' silent traits."""

Score = tuple[str, float]


def is_in_corpus(kind: str) -> bool:
    """Whether the corpus states the answers to a kind of question (silent traits: only choices)."""
    return kind == "people/silent/choice" or not kind.startswith(NOT_IN_CORPUS)


def exam(model: LlamaForCausalLM, world: World, seed: int = 0) -> dict[str, float]:
    """Share of questions answered right, by kind.

    - `places/part/country`, `places/none/city`, `rules/part/definition`, …: a facet that the corpus
      never states under this name; it states some other facets (part) or none. The most likely word
      must be right.
    - `places/distance`, `places/direction`, `rules/example`: facts of the corpus.
    - `people/told/choice`, `people/silent/hobby`, `people/gated on/scale`, …: whether the right
      pole's answer is more likely than the other pole's (chance .5). Traits are told (in all kinds
      of statement), silent (only choices show them), or gated (in the gating weather, and without).
    """
    rng = np.random.default_rng([seed, 5])
    places, rules, vocabulary = world.places, world.rules, world.vocabulary
    city_kinds = [facet.kind for facet in places.facets]
    rule_facets = [facet.name for facet in rules.facets]

    def scores() -> Iterator[Score]:
        for kind, ids in _facts_not_told(world, places, city_kinds, rng, most=MAX_QUESTIONS):
            yield f"places/{kind}", _accuracy(model, world, places.forms, ids)
        pairs = places.pairs(vocabulary, 2 * MAX_QUESTIONS, rng)
        far = np.isin(pairs[:, PAIR_FACTS.answer_at], vocabulary.ids(DISTANCES))
        yield "places/distance", _accuracy(model, world, PAIR_FACTS, pairs[far])
        yield "places/direction", _accuracy(model, world, PAIR_FACTS, pairs[~far])
        for kind, ids in _facts_not_told(world, rules, rule_facets, rng, most=None):
            yield f"rules/{kind}", _accuracy(model, world, rules.forms, ids)
        examples = rules.examples(vocabulary, MAX_QUESTIONS, rng)
        yield "rules/example", _accuracy(model, world, OUTPUT_FACTS, examples)
        yield from _people(model, world, rng)

    with torch.no_grad():
        return dict(scores())


def _facts_not_told(
    world: World,
    part: Entities,
    kinds: Sequence[str],
    rng: np.random.Generator,
    *,
    most: int | None,
) -> Iterator[tuple[str, Ids]]:
    """Facts that the corpus does not state under a name, by kind; at most `most` of each kind."""
    last = np.arange(part.shown.shape[1]) == part.shown.shape[1] - 1
    for group, chosen in (("part", ~last), ("none", last)):
        for kind in dict.fromkeys(kinds):
            selected = chosen[:, None] & (np.array(kinds) == kind)
            facts = np.argwhere(~part.shown & selected)
            facts = facts if most is None else facts[rng.permutation(len(facts))[:most]]
            which = rng.integers(len(part.forms.texts), size=len(facts))
            slots = part.slots(world.vocabulary, *facts.T)
            yield f"{group}/{kind}", part.forms.fill(world.vocabulary, which, slots)


def _people(model: LlamaForCausalLM, world: World, rng: np.random.Generator) -> Iterator[Score]:
    part, words = world.people, world.vocabulary
    gated = part.weather >= 0
    fixed = ~gated & (part.sign != 0)
    head = words.ids([*WEATHERS, PLAIN])
    groups = (
        ("told", fixed & ~part.silent, False),
        ("silent", part.silent, False),
        ("gated on", gated, True),
        ("gated off", gated, False),
    )
    for group, chosen, in_weather in groups:
        pairs = np.argwhere(chosen)
        speaker, trait = pairs[rng.permutation(len(pairs))[:MAX_QUESTIONS]].T
        if not len(speaker):
            continue
        weather = part.weather[speaker, trait] if in_weather else np.full(len(speaker), -1)
        shown = part.pole(speaker, trait, weather)
        rows = np.arange(len(speaker))
        for index, kind in enumerate(KINDS):
            kinds = np.full(len(speaker), index)
            draw = int(rng.integers(2**31))
            right, wrong = (
                part.statements(words, speaker, trait, kinds, pole, np.random.default_rng(draw))
                for pole in (shown, -shown)
            )
            at = FORMS[kind].answer_at
            ids = np.concatenate([head[weather][:, None], right], axis=1)
            logits = _logits(model, world, ids[:, : at + 1])
            better = logits[rows, right[:, at]] > logits[rows, wrong[:, at]]
            yield f"people/{group}/{kind}", float(better.mean())


def _accuracy(model: LlamaForCausalLM, world: World, form: Forms, ids: Ids) -> float:
    """Share of sentences whose answer is the most likely word."""
    logits = _logits(model, world, ids[:, : form.answer_at])
    return float((logits.argmax(axis=1) == ids[:, form.answer_at]).mean())


def _logits(model: LlamaForCausalLM, world: World, ids: Ids) -> np.ndarray:
    """Logits after each sequence. `[sequence, word]`."""
    bos = np.full((len(ids), 1), world.vocabulary.id(BOS))
    tokens = torch.from_numpy(np.concatenate([bos, ids], axis=1)).to(model.device)
    rows, last = torch.arange(len(ids)), torch.full((len(ids),), tokens.shape[1] - 1)
    logits: np.ndarray = answer_logits(model, tokens, rows, last).cpu().numpy()
    return logits
