"""A finished run's own questions: presets that a page can ask, each with what is to be tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from oocr.data.examples import Example, Prompt, spread
from oocr.evals.scores import Scoring
from oocr.play.settings import SteeringUse
from oocr.tasks.task import Task

PER_FACET = 8
"""Questions of each facet that are offered."""


@dataclass(frozen=True, slots=True, eq=False)
class ProbeSet:
    """The questions of one member of a run, and its arms.

    Attributes:
        id: of the run and the member.
        arms: label -> id of a source, the one that is tried first first.
        scoring: how the run scores them.
        opening: id of the example that is asked first; "": any.
    """

    id: str
    run: str
    task: Task
    arms: Mapping[str, str]
    scoring: Scoring
    opening: str = ""
    by_id: dict[str, Example] = field(default_factory=dict[str, Example])

    def __post_init__(self) -> None:
        by_facet: dict[str, list[Example]] = {}
        for example in self.task.probes:
            by_facet.setdefault(example.facet, []).append(example)
        # Facets that the score counts come first.
        facets = sorted(by_facet, key=lambda facet: not self.scoring.counts(facet))
        for facet in facets:
            first = [example for example in by_facet[facet] if example.id == self.opening]
            for example in (*first, *spread(by_facet[facet], PER_FACET)):
                self.by_id[f"{self.id}/{example.id}"] = example

    def presets(self) -> Iterator[dict[str, object]]:
        """The questions as the page shows them."""
        for id, example in self.by_id.items():
            yield {
                "id": id,
                "facet": example.facet or "questions",
                "prompt": shown_prompt(example.prompt),
                "options": example.options,
                "answer": example.answer,
            }

    def describe(self) -> dict[str, object]:
        """The member as the page shows it."""
        return {
            "id": self.id,
            "run": self.run,
            "member": self.task.member,
            "arms": dict(self.arms),
            "opening": f"{self.id}/{self.opening}" if self.opening else "",
            "presets": list(self.presets()),
        }


def shown_prompt(prompt: Prompt) -> str | list[dict[str, str]]:
    """A prompt as JSON: a text, or turns."""
    if isinstance(prompt, str):
        return prompt
    return [{"role": turn.role, "content": turn.content} for turn in prompt]


def named_span(use: SteeringUse) -> str:
    """The text of the span that a use is about; "": none."""
    return use.span if use.positions.endswith("span") else ""
