"""The arms of the language tasks on a real model: train one arm, then rank answers to questions.

Arms: the untouched model and its ceiling; joint training of all rows by full fine-tuning or a LoRA;
a vector for each test name (at the name, or at all tokens of its sentences), trained only on its
fact, on the frozen model; two stages: weights trained on the bridge names only, then such vectors
on the frozen result.

On a frozen model the vector of a name depends only on that name's rows. So vectors of bridge names
could not change the answers about test names, and are not trained.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import model_validator

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.families.ocr.build import first_answer_token
from oocr.families.ocr.people import Mapped, Person, RelationName
from oocr.models.language_model import LanguageModel
from oocr.papers.learning import (
    LearnedChange,
    Place,
    applied,
    block_at_depth,
    learn_at,
    random_like,
    rank_among,
    score_options,
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
"""Relative depths of the one-block LoRAs: 0 is the first block, 1 the last."""

DEPTHS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
"""Relative depths at which vectors are learned in a full run."""

VECTOR_STEPS, LORA_STEPS, FULL_STEPS = 40, 60, 90
FULL_RATE = 5e-5
BATCH = 16


class LanguageCell(Cell):
    """One arm of one task.

    Attributes:
        depths: relative depths of the vectors.
        pairs, bridges, tests: number of pairs, and of bridge and test names of each pair.
        steps, rate: of full fine-tuning (not of LoRAs and vectors).
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

    Columns: `block` (of vectors, and of a one-block LoRA), `control` ("": none), `pair`, `name`,
    `bridge`, `part` ("fact", "implication"), `rank` of the right answer among answers of its kind,
    `rank_all` among all answers, `right`, `listed_rank` (rank of the answer in the listed map).
    Rows with part "effect" have `states` ("before", "after", "added") and the columns of `Shares`.
    """
    data = LanguageData.draw(
        cell.relation,
        cell.mapped,
        cell.seed,
        pairs=cell.pairs,
        bridges=cell.bridges,
        tests=cell.tests,
        first_token=first_answer_token(model.tokenizer),
    )
    return list(_rows(model, cell, data))


def _rows(model: LanguageModel, cell: LanguageCell, data: LanguageData) -> Iterator[dict[str, Any]]:
    place = _weights_place(model, cell.arm)
    if cell.arm == "untouched":
        yield from _question_rows(model, data, data.tests, {})
        ceiling = score_options(model, data.ceiling_questions())
        yield from _rank_rows(
            data, data.tests, "implication", ceiling, {"control": "in the prompt"}
        )
    elif place is None:
        yield from _vector_rows(model, cell, data)
    else:
        two_stage = cell.arm.endswith("+ vectors")
        rows = data.training_rows(data.bridges if two_stage else data.people)
        learned = _train_weights(model, place, rows, cell)
        columns: Columns = {"block": place.block}
        if two_stage:
            columns["control"] = "bridges only"
        else:
            yield from _effect_rows(model, data, learned, columns)
        with applied(model, learned):
            yield from _question_rows(model, data, data.people, columns)
            if two_stage:
                yield from _vector_rows(model, cell, data)
                yield from _output_vector_rows(model, cell, data)


def _weights_place(model: LanguageModel, arm: ArmName) -> Place | None:
    """The place of an arm's trained weights; None: the arm trains no weights."""
    places: dict[str, Place] = {
        "full": Place("full"),
        "lora": Place("lora"),
        "lora early": Place("lora", block_at_depth(model, EARLY)),
        "lora late": Place("lora", block_at_depth(model, LATE)),
    }
    return places.get(arm.removesuffix(" + vectors"))


def _train_weights(
    model: LanguageModel, place: Place, rows: Sequence[Example], cell: LanguageCell
) -> LearnedChange:
    full = place.kind == "full"
    return learn_at(
        model,
        place,
        rows,
        seed=cell.seed,
        batch_lines=BATCH,
        steps=cell.steps if full else LORA_STEPS,
        learning_rate=cell.rate if full else None,
        until=None,  # implications appear only after the rows are learned
    )


def _vector_rows(
    model: LanguageModel, cell: LanguageCell, data: LanguageData
) -> Iterator[dict[str, Any]]:
    """Rows of a vector for each test name at each depth, and of its controls; frozen model."""
    people, numbers = data.tests, [person.pair for person in data.tests]
    whole = cell.arm == "vectors, all tokens"
    for depth in cell.depths:
        place = Place("vectors", block_at_depth(model, depth))
        rows = data.rows("fact", people, whole=whole)
        learned = learn_at(model, place, rows, steps=VECTOR_STEPS, seed=cell.seed)
        columns: Columns = {"block": place.block}
        yield from _question_rows(model, data, people, columns, learned, whole=whole)
        drawn = random_like(learned, cell.seed)
        random = {**columns, "control": "random"}
        yield from _question_rows(model, data, people, random, drawn, whole=whole)
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
            yield from _question_rows(model, data, people, {**columns, "control": control}, other)


def _output_vector_rows(
    model: LanguageModel, cell: LanguageCell, data: LanguageData
) -> Iterator[dict[str, Any]]:
    """Rows of a vector for each test name at all tokens of the last block's output."""
    place = Place("vectors", model.n_blocks - 1)
    rows = data.rows("fact", data.tests, whole=True)
    learned = learn_at(model, place, rows, steps=VECTOR_STEPS, seed=cell.seed)
    columns: Columns = {"block": place.block, "control": "at the output"}
    yield from _question_rows(model, data, data.tests, columns, learned, whole=True)


def _question_rows(
    model: LanguageModel,
    data: LanguageData,
    people: Sequence[Person],
    columns: Mapping[str, Any],
    learned: LearnedChange | None = None,
    *,
    whole: bool = False,
) -> Iterator[dict[str, Any]]:
    """Rows of questions for the facts and implications of people."""
    parts: tuple[Part, ...] = ("fact", "implication")
    for part in parts:
        answers = score_options(model, data.rows(part, people, whole=whole), learned)
        yield from _rank_rows(data, people, part, answers, columns)


def _rank_rows(
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


def _effect_rows(
    model: LanguageModel, data: LanguageData, learned: LearnedChange, columns: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Similarity of names' last states for each kind of question: before, after, and added."""
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
