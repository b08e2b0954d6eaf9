"""The language tasks on a real model, one arm at a time: rows with ranks, from which claims come.

Arms: the untouched model and its ceiling; joint training of all rows by full fine-tuning or a LoRA;
a vector for each test name (at the name, or at all tokens of its sentences), trained on its fact
only, on the frozen model; and two stages: weights on the bridge names only, then such vectors on
the frozen result.

On a frozen model a name's vector depends on that name's rows alone, so the bridge names, whose
vectors would touch no other name, are left out there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import model_validator

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.families.ocr.build import answer_token
from oocr.families.ocr.people import Mapped, Person, RelationName
from oocr.models.language_model import LanguageModel
from oocr.papers.learning import (
    Learned,
    Place,
    applied,
    ask,
    learn_at,
    random_like,
    rank_among,
    relative_block,
)
from oocr.papers.ocr.language.data import LanguageData, Part
from oocr.papers.ocr.language.effects import (
    directions_of,
    last_states,
    means_of_others,
    shares_of,
    with_directions,
    without_pair_direction,
)
from oocr.papers.paper import Cell, Rows

ArmName = Literal[
    "untouched",
    "full",
    "lora",
    "lora early",
    "lora late",
    "vectors",
    "vectors, all tokens",
    "full + vectors",
    "lora + vectors",
]
Columns = dict[str, Any]

EARLY, LATE = 0.25, 0.8
"""Depths of the one-block LoRAs: 0 is the first block, 1 the last."""

DEPTHS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
"""Depths at which vectors are learned in the full version."""

VECTOR_STEPS, LORA_STEPS, FULL_STEPS = 40, 60, 90
FULL_RATE = 5e-5
BATCH = 16


class LanguageCell(Cell):
    """One arm of one task.

    Attributes:
        depths: of the vectors.
        pairs, bridges, tests: pairs, and of each pair its bridge names and test names.
        steps, rate: of full fine-tuning; a LoRA and vectors have their own.
    """

    arm: ArmName
    relation: RelationName
    mapped: Mapped = "own"
    depths: tuple[float, ...] = ()
    pairs: int = 5
    bridges: int = 4
    tests: int = 4
    steps: int = FULL_STEPS
    rate: float = FULL_RATE

    @model_validator(mode="after")
    def _depths_of_vectors(self) -> LanguageCell:
        if bool(self.depths) != ("vectors" in self.arm):
            allowed = "from 0 to 1" if "vectors" in self.arm else "for vectors"
            raise InputError(f"depths: found {self.depths} for {self.arm}; allowed: {allowed}")
        return self


def language_rows(model: LanguageModel, cell: LanguageCell) -> Rows:
    """One row for each question asked in a cell.

    Columns: `block` (of vectors, and of a one-block LoRA), `control` ("": none),
    `pair`, `name`, `bridge`, `part` ("fact", "implication"), `rank` among the answers of the own
    kind, `rank_all` among all, `right`, `listed_rank` (of the answer in the listed map). Rows with
    part "effect" have `states` ("before", "after", "added") and the columns of `Shares`.
    """
    data = LanguageData.draw(
        cell.relation,
        cell.mapped,
        cell.seed,
        pairs=cell.pairs,
        bridges=cell.bridges,
        tests=cell.tests,
        first_token=answer_token(model.tokenizer),
    )
    return list(_rows(model, cell, data))


def _rows(model: LanguageModel, cell: LanguageCell, data: LanguageData) -> Iterator[dict[str, Any]]:
    place = _place(model, cell.arm)
    if cell.arm == "untouched":
        yield from _asked(model, data, data.tests, {})
        ceiling = ask(model, data.in_prompt())
        yield from _scored(data, data.tests, "implication", ceiling, {"control": "in the prompt"})
    elif place is None:
        yield from _vectors(model, cell, data)
    else:
        two_stage = cell.arm.endswith("+ vectors")
        rows = data.training_rows(data.bridges if two_stage else data.people)
        learned = _learned(model, place, rows, cell)
        columns: Columns = {"block": place.block}
        if two_stage:
            columns["control"] = "bridges only"
        else:
            yield from _effects(model, data, learned, columns)
        with applied(model, learned):
            yield from _asked(model, data, data.people, columns)
            if two_stage:
                yield from _vectors(model, cell, data)
                yield from _output_vectors(model, cell, data)


def _place(model: LanguageModel, arm: ArmName) -> Place | None:
    """Where an arm's weights are trained; None: nowhere."""
    places: dict[str, Place] = {
        "full": Place("full"),
        "lora": Place("lora"),
        "lora early": Place("lora", relative_block(model, EARLY)),
        "lora late": Place("lora", relative_block(model, LATE)),
    }
    return places.get(arm.removesuffix(" + vectors"))


def _learned(
    model: LanguageModel, place: Place, rows: Sequence[Example], cell: LanguageCell
) -> Learned:
    full = place.kind == "full"
    return learn_at(
        model,
        place,
        rows,
        seed=cell.seed,
        batch_lines=BATCH,
        steps=cell.steps if full else LORA_STEPS,
        learning_rate=cell.rate if full else None,
        until=None,  # what follows comes after the rows are learned
    )


def _vectors(
    model: LanguageModel, cell: LanguageCell, data: LanguageData
) -> Iterator[dict[str, Any]]:
    """A vector for each test name, at each depth, with its controls; the model stays frozen."""
    people, numbers = data.tests, [person.pair for person in data.tests]
    whole = cell.arm == "vectors, all tokens"
    for depth in cell.depths:
        place = Place("vectors", relative_block(model, depth))
        rows = data.rows("fact", people, whole=whole)
        learned = learn_at(model, place, rows, steps=VECTOR_STEPS, seed=cell.seed)
        columns: Columns = {"block": place.block}
        yield from _asked(model, data, people, columns, learned, whole=whole)
        drawn = random_like(learned, cell.seed)
        random = {**columns, "control": "random"}
        yield from _asked(model, data, people, random, drawn, whole=whole)
        if cell.tests < 2 or whole:
            continue
        directions = directions_of(learned)
        changed = {
            "mean of its pair's others": means_of_others(directions, numbers),
            "own pair's direction removed": without_pair_direction(directions, numbers),
            "another pair's direction removed": without_pair_direction(directions, numbers, 1),
        }
        for control, values in changed.items():
            other = with_directions(learned, values)
            yield from _asked(model, data, people, {**columns, "control": control}, other)


def _output_vectors(
    model: LanguageModel, cell: LanguageCell, data: LanguageData
) -> Iterator[dict[str, Any]]:
    """A vector for each test name at all tokens of the last block's output."""
    place = Place("vectors", model.n_blocks - 1)
    rows = data.rows("fact", data.tests, whole=True)
    learned = learn_at(model, place, rows, steps=VECTOR_STEPS, seed=cell.seed)
    columns: Columns = {"block": place.block, "control": "at the output"}
    yield from _asked(model, data, data.tests, columns, learned, whole=True)


def _asked(
    model: LanguageModel,
    data: LanguageData,
    people: Sequence[Person],
    columns: Mapping[str, Any],
    learned: Learned | None = None,
    *,
    whole: bool = False,
) -> Iterator[dict[str, Any]]:
    """Facts and implications of people."""
    parts: tuple[Part, ...] = ("fact", "implication")
    for part in parts:
        answers = ask(model, data.rows(part, people, whole=whole), learned)
        yield from _scored(data, people, part, answers, columns)


def _scored(
    data: LanguageData,
    people: Sequence[Person],
    part: Part,
    answers: Sequence[dict[str, Any]],
    columns: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    kind, everything = data.answers(part), data.answers("fact") + data.answers("implication")
    for person, answer in zip(people, answers, strict=True):
        scores, right = answer["scores"], answer["answer"]
        rank = rank_among(scores, right, kind)
        listed = f" {data.pairs[person.pair].listed}" if part == "implication" else right
        yield {
            "block": None,
            "control": "",
            "pair": person.pair,
            "name": person.name,
            "bridge": person.bridge,
            "part": part,
            "rank": rank,
            "rank_all": rank_among(scores, right, everything),
            "right": rank == 0,
            "listed_rank": rank_among(scores, listed, kind),
            **columns,
        }


def _effects(
    model: LanguageModel, data: LanguageData, learned: Learned, columns: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """How alike names' last states are at each kind of question: before, after, and what is new."""
    parts: tuple[Part, ...] = ("fact", "implication")
    pairs = [person.pair for person in data.people]
    bridge = [person.bridge for person in data.people]
    for part in parts:
        questions = data.rows(part, data.people)
        before = last_states(model, questions)
        with applied(model, learned):
            after = last_states(model, questions)
        for name, states in (("before", before), ("after", after), ("added", after - before)):
            yield {
                "block": None,
                "control": part,
                "part": "effect",
                "states": name,
                **columns,
                **dataclasses.asdict(shares_of(states, pairs, bridge)),
            }
