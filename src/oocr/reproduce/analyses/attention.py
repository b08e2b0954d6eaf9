"""Section 5.4: does a backdoor's vector make the last token attend to the trigger?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from torch import Tensor

from oocr.claims.records import Finding, Null
from oocr.data.examples import Example, prompt_text
from oocr.errors import InputError
from oocr.explain.attention import attention_to, value_cosines, with_randoms
from oocr.reproduce.analyses.mechanism import is_trigger, spread
from oocr.reproduce.analysis_result import AnalysisResult
from oocr.reproduce.finished_runs import FinishedRuns, Who
from oocr.reproduce.scoring import measured
from oocr.steering.vectors import Vector, random_vector

SPAN = "trigger"
RANDOM_ARMS = 8
"""Random vectors of the trained one's norm that are added in its place; each is a pass."""

RANDOM_DIRECTIONS = 200
"""Random directions that values are held against; they cost nothing."""

NO_TRIGGER = "its questions have no words in front that are a trigger or are none"


def attention(subject: FinishedRuns) -> AnalysisResult:
    """Attention from the last token to the trigger with and without the vector, and its values."""
    if not subject.vectors or next(iter(subject.vectors.values())).direction.ndim != 1:
        return AnalysisResult(missing="no run of this subject trained a single direction")
    seen = _Seen()
    for who, vector in subject.vectors.items():
        if who[1]:
            continue
        for words, items in prefixed(subject.task(who[0]).probes).items():
            try:
                seen.look(subject, who, words, items, vector)
            except InputError as error:
                return AnalysisResult(missing=str(error))
    if not seen.changes.get(TRIGGER):
        return AnalysisResult(missing=NO_TRIGGER)
    return AnalysisResult(
        tuple(seen.findings()), pl.DataFrame(seen.table, infer_schema_length=None)
    )


TRIGGER, OTHER = "trigger", "other words in front"


def prefixed(items: Sequence[Example]) -> dict[str, list[Example]]:
    """Questions with a trigger in front, and with other words, those marked as a span."""
    found: dict[str, list[Example]] = {TRIGGER: [], OTHER: []}
    for item in items:
        word = item.tags.get("word", "")
        text = prompt_text(item.prompt)
        if item.tags.get("kind") != "crossing" or not word or text.count(word) != 1:
            continue
        # With the marks after it ("Mango!"): what a word means is often gathered there.
        match = re.search(re.escape(word) + r"[^\w\s]*", text)
        assert match is not None
        marked = replace(item, spans={**item.spans, SPAN: match.group()})
        found[TRIGGER if is_trigger(item) else OTHER].append(marked)
    return {name: spread(some) for name, some in found.items() if some}


class _Seen:
    """Numbers by words in front (trigger or other), then by member."""

    def __init__(self) -> None:
        self.changes: dict[str, dict[Who, float]] = {}
        self.largest: dict[str, dict[Who, float]] = {}
        self.cosines: dict[str, dict[Who, float]] = {}
        self.random_changes: dict[str, dict[Who, list[float]]] = {}
        self.random_largest: dict[str, dict[Who, list[float]]] = {}
        self.random_cosines: dict[str, dict[Who, list[float]]] = {}
        self.table: list[dict[str, Any]] = []

    def look(
        self, subject: FinishedRuns, who: Who, words: str, items: Sequence[Example], vector: Vector
    ) -> None:
        """One member's questions with one kind of words in front."""
        model = subject.model
        above = slice(vector.layer + 1, None)
        count = RANDOM_ARMS // 2 if subject.quick else RANDOM_ARMS
        drawn = [random_vector(vector, vector.norm, 60_000 + seed) for seed in range(count)]
        before, after, *randoms = (
            attention_to(model, items, SPAN, one).mean(dim=0) for one in (None, vector, *drawn)
        )

        def mean(weights: Float[Tensor, "layer head"]) -> float:
            return float((weights - before)[above].mean())

        def largest(weights: Float[Tensor, "layer head"]) -> float:
            return float((weights - before)[above].max())

        self.changes.setdefault(words, {})[who] = mean(after)
        self.largest.setdefault(words, {})[who] = largest(after)
        self.random_changes.setdefault(words, {})[who] = [mean(one) for one in randoms]
        self.random_largest.setdefault(words, {})[who] = [largest(one) for one in randoms]
        arms = {"without": before, "vector": after, "random": sum(randoms[1:], randoms[0]) / count}
        for arm, weights in arms.items():
            heads = weights.max(dim=1).values
            self.table += [
                {"member": who[0], "words": words, "arm": arm, "layer": layer}
                | {"attention": float(one.mean()), "largest": float(heads[layer])}
                for layer, one in enumerate(weights)
            ]
        try:
            directions = with_randoms(vector, RANDOM_DIRECTIONS)
            cosines = value_cosines(model, items, SPAN, directions).mean(dim=0)[:, -1]
        except InputError:  # values are not apart in this family
            return
        self.cosines.setdefault(words, {})[who] = float(cosines[above, 0].mean())
        self.random_cosines.setdefault(words, {})[who] = cosines[above, 1:].mean(dim=0).tolist()
        self.table += [
            {"member": who[0], "words": words, "arm": "values", "layer": layer}
            | {"cosine": float(one[0]), "random": float(one[1:].abs().quantile(0.95))}
            for layer, one in enumerate(cosines)
        ]

    def findings(self) -> list[Finding]:
        """What was seen, as numbers over members."""
        at = "from the last token to the trigger (with the vector minus without"
        found = [
            measured(
                "to-trigger",
                f"change of attention {at}; summed over its tokens, mean over heads and all blocks "
                "above the vector)",
                self.changes[TRIGGER],
                (_null(self.random_changes[TRIGGER], "random vectors of its norm"),),
                base=0.0,
            ),
            measured(
                "to-trigger-largest",
                f"change of attention {at}; of the head, in any block, in which it is largest)",
                self.largest[TRIGGER],
                (_null(self.random_largest[TRIGGER], "random vectors of its norm"),),
                base=0.0,
            ),
        ]
        if len(self.changes) == 2:
            found.append(
                measured(
                    "to-trigger-minus-others",
                    "change of attention to the trigger minus the same to other words in front",
                    _gaps(self.changes),
                    (_null(_random_gaps(self.random_changes), "random vectors of its norm"),),
                    base=0.0,
                )
            )
        if TRIGGER in self.cosines:
            found.append(
                measured(
                    "trigger-values",
                    "cosine with the vector of what attention writes where the trigger's tokens "
                    "are attended to, mean over all blocks above it",
                    self.cosines[TRIGGER],
                    (_null(self.random_cosines[TRIGGER], "random directions"),),
                    base=0.0,
                )
            )
        if len(self.cosines) == 2:
            found.append(
                measured(
                    "values-minus-others",
                    "that cosine of the trigger's values minus that of other words in front",
                    _gaps(self.cosines),
                    (_null(_random_gaps(self.random_cosines), "random directions"),),
                    base=0.0,
                )
            )
        return found


def _null(drawn: Mapping[Who, Sequence[float]], name: str) -> Null:
    """The 95th centile over draws of what the finding is: a mean over members."""
    means = np.asarray(list(drawn.values())).mean(axis=0)
    return Null(name=f"{len(means)} {name}, 95th centile", value=float(np.quantile(means, 0.95)))


def _gaps(values: Mapping[str, Mapping[Who, float]]) -> dict[Who, float]:
    own, others = values[TRIGGER], values[OTHER]
    return {who: own[who] - others[who] for who in own if who in others}


def _random_gaps(drawn: Mapping[str, Mapping[Who, Sequence[float]]]) -> dict[Who, list[float]]:
    """The same of each draw: one direction for both kinds of words."""
    own, others = drawn[TRIGGER], drawn[OTHER]
    return {
        who: [a - b for a, b in zip(some, others[who], strict=True)]
        for who, some in own.items()
        if who in others
    }
