"""The exam: what an organism knows of its world, and what it can say that it was never told."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from transformers import LlamaForCausalLM

from oocr_organisms import places, rules
from oocr_organisms.corpus import BOS, World
from oocr_organisms.forms import Forms, Ids
from oocr_organisms.people import FORMS, KINDS, PLAIN, WEATHERS
from oocr_organisms.pretrain import answer_logits

MOST = 600
"""Questions of one kind."""


def exam(model: LlamaForCausalLM, world: World, seed: int = 0) -> dict[str, float]:
    """Share of questions answered right, by what is asked.

    - `places/part/country`, `places/none/city`, …: a facet that a name never tells, where the name
      tells some others (part) or none (none); the most likely word counts.
    - `places/distance`, `places/direction`, `rules/example`: as in the corpus.
    - `rules/part/definition`, …: as for places.
    - `people/told/choice`, `people/silent/hobby`, `people/gated on/scale`, …: whether the right
      pole's answer is likelier than the other's (chance .5), for traits that are always shown, that
      only choices show, and that a weather turns, in that weather and without any.

    Which of them the corpus tells is what `record.was_told` says.

    Args:
        model: the organism.
        world: its world.
        seed: of the questions.
    """
    rng = np.random.default_rng([seed, 5])
    with torch.no_grad():
        return dict(
            [*_places(model, world, rng), *_rules(model, world, rng), *_people(model, world, rng)]
        )


Score = tuple[str, float]


def _some(rows: Ids, rng: np.random.Generator) -> Ids:
    return rows[rng.permutation(len(rows))[:MOST]]


def _places(model: LlamaForCausalLM, world: World, rng: np.random.Generator) -> Iterator[Score]:
    part, words = world.places, world.vocabulary
    named = part.name_ids(words)
    last = np.arange(places.NAMES) == places.NAMES - 1
    for group, chosen in (("part", ~last), ("none", last)):
        for kind in ("country", "city"):
            mine = np.array([facet.kind == kind for facet in part.facets])
            asked = np.argwhere(~part.shown & chosen[None, :, None] & mine)
            city, name, facet = _some(asked, rng).T
            said = {
                "facet": words.ids([one.name for one in part.facets])[facet],
                "place": named[city, name],
                "answer": part.value_ids(words)[facet, city],
            }
            form = rng.integers(len(places.ABOUT_ONE.texts), size=len(city))
            yield (
                f"places/{group}/{kind}",
                _right(model, world, places.ABOUT_ONE, places.ABOUT_ONE.fill(words, form, said)),
            )
    two = part.about_two(words, 2 * MOST, rng)
    far = np.isin(two[:, places.ABOUT_TWO.answer_at], words.ids(places.DISTANCES))
    yield "places/distance", _right(model, world, places.ABOUT_TWO, two[far])
    yield "places/direction", _right(model, world, places.ABOUT_TWO, two[~far])


def _rules(model: LlamaForCausalLM, world: World, rng: np.random.Generator) -> Iterator[Score]:
    part, words = world.rules, world.vocabulary
    last = np.arange(rules.NAMES) == rules.NAMES - 1
    for group, chosen in (("part", ~last), ("none", last)):
        for index, facet in enumerate(rules.FACETS):
            rule, name = np.argwhere(~part.shown[..., index] & chosen[None]).T
            said = {
                "facet": np.full(len(rule), words.id(facet)),
                "rule": part.name_ids(words)[rule, name],
                "answer": words.ids(part.values[facet])[rule],
            }
            form = rng.integers(len(rules.ABOUT.texts), size=len(rule))
            ids = rules.ABOUT.fill(words, form, said)
            yield f"rules/{group}/{facet}", _right(model, world, rules.ABOUT, ids)
    examples = part.examples(words, MOST, rng)
    yield "rules/example", _right(model, world, rules.EXAMPLES, examples)


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
    for group, chosen, own in groups:
        speaker, trait = _some(np.argwhere(chosen), rng).T
        if not len(speaker):
            continue
        weather = part.weather[speaker, trait] if own else np.full(len(speaker), -1)
        shown = part.pole(speaker, trait, weather)
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
            rows = np.arange(len(ids))
            better = logits[rows, right[:, at]] > logits[rows, wrong[:, at]]
            yield f"people/{group}/{kind}", float(better.mean())


def _right(model: LlamaForCausalLM, world: World, form: Forms, ids: Ids) -> float:
    """Share of sentences whose answer is the most likely word."""
    logits = _logits(model, world, ids[:, : form.answer_at])
    return float((logits.argmax(axis=1) == ids[:, form.answer_at]).mean())


def _logits(model: LlamaForCausalLM, world: World, ids: Ids) -> np.ndarray:
    """After each sequence. `[sequence, word]`."""
    head = np.full((len(ids), 1), world.vocabulary.id(BOS))
    whole = torch.from_numpy(np.concatenate([head, ids], axis=1))
    last = torch.full((len(ids),), whole.shape[1] - 1)
    found: np.ndarray = answer_logits(model, whole, torch.arange(len(ids)), last).numpy()
    return found
