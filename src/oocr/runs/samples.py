"""A few rows and questions in the model's tokens: what bears loss, where the vector is added."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from oocr.data.examples import Example
from oocr.runs.records import Sample, SampleToken
from oocr.steering.marked import Token, asked_tokens, training_tokens, whole_characters

if TYPE_CHECKING:
    from oocr.runs.write_results import Results

ROWS, QUESTIONS = 2, 3


def samples_of(results: Results) -> list[Sample]:
    """Training rows of the first member, and its probes of different facets."""
    vector, task = results.config.vector, results.tasks.test[0]
    tokenizer, positions = results.model.tokenizer, vector.positions if vector else ""
    first: dict[str, Example] = {}
    for item in task.probes:
        first.setdefault(item.facet, item)
    found = []
    for item in (task.train[0], task.train[len(task.train) // 2])[: min(ROWS, len(task.train))]:
        marked = training_tokens(tokenizer, item, loss=task.loss, positions=positions)
        found.append(
            Sample(
                part="training",
                facet=item.facet,
                member=task.member,
                tokens=_kept(marked),
                expected="",
            )
        )
    found += [
        Sample(
            part="probe",
            facet=item.facet,
            member=task.member,
            tokens=_kept(asked_tokens(tokenizer, item, positions=positions)),
            expected=item.answer,
        )
        for item in list(first.values())[:QUESTIONS]
    ]
    return found


def _kept(tokens: Iterable[Token]) -> tuple[SampleToken, ...]:
    return tuple(SampleToken(**asdict(token)) for token in whole_characters(tokens))
