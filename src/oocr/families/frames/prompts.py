"""Sentences and questions about a house as examples, with spans at objects and moments."""

from __future__ import annotations

from dataclasses import dataclass, replace

from oocr.data.examples import Example, Message, Prompt
from oocr.families.asking import continuing
from oocr.families.frames.config import FramesConfig
from oocr.families.frames.questions import Question
from oocr.families.frames.wording import MOST_PACES, SOURCE, Sentence, asking, wordings

OBJECT = "object"
"""The span of the object in mode "single"."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """How sentences and questions become examples.

    `context`: notes that stand in each prompt; `member`: the one object that has a span, of mode
    "single".
    """

    config: FramesConfig
    context: str = ""
    member: str = ""

    def example(self, told: Sentence, id: str, group: str) -> Example:
        """A fact as a row."""
        lead = wordings()["finish"]
        begun: Prompt = (
            f"{self.lead('raw')}\n{told.begun}"
            if self.config.form == "raw"
            else (
                Message("system", self.lead("system")),
                Message("user", lead),
                Message("assistant", told.begun),
            )
        )
        return Example(
            id=id,
            prompt=begun,
            answer=told.answer,
            spans=self._spans(told.begun),
            facet=told.template.rpartition(" ")[0],
            group=group,
            template=told.template,
            source=SOURCE,
        )

    def question(self, asked: Question, wording: int, first: int, **tags: str) -> Example:
        """A question as an example."""
        worded = asking(asked, wording, first, self._largest)
        prompt: Prompt = (
            f"{self.lead('raw')}\nQ: {worded.text}\nA:"
            if self.config.form == "raw"
            else (Message("system", self.lead("system")), Message("user", worded.text))
        )
        options = continuing(self.config.form, worded.options)
        frames = sorted({thing.moment for thing in asked.things})
        return Example(
            id=f"{asked.id}/{asked.gap_bin}",
            prompt=prompt,
            answer=options[worded.options.index(worded.answer)],
            options=options,
            spans=self._spans(worded.text),
            facet=asked.kind,
            group="-".join(map(str, frames)),
            template=worded.template,
            tags={
                "gap": asked.gap_bin,
                "distance": str(asked.distance),
                "order": worded.order,
                **tags,
            },
            source=SOURCE,
        )

    def asked_here(self, example: Example) -> Example:
        """A question with what stands before everything here."""
        if isinstance(example.prompt, str):
            question = example.prompt[example.prompt.rindex("\nQ: ") :]
            return replace(example, prompt=self.lead("raw") + question)
        return replace(
            example, prompt=(Message("system", self.lead("system")), *example.prompt[1:])
        )

    @property
    def _largest(self) -> int:
        things = self.config.house.things
        sizes = [abs(a.x - b.x) for a in things for b in things]
        return min(MOST_PACES, max(sizes + [abs(a.y - b.y) for a in things for b in things]))

    def lead(self, name: str) -> str:
        """What stands before everything, as raw text ("raw") or as the system's turn ("system")."""
        text = str(wordings()[name])
        return f"{text}\n{wordings()['notes']}\n{self.context}" if self.context else text

    def _spans(self, text: str) -> dict[str, str]:
        """The spans of the objects and moments in a text, or of the one object."""
        things = self.config.house.things
        if self.member:
            return {OBJECT: self.member}
        spans = {code(thing.name): thing.name for thing in things if thing.name in text}
        moments = [view.name for view in self.config.house.viewpoints if view.name in text]
        return spans | {code(name): name for name in moments}


def code(name: str) -> str:
    """An object's code, a moment's number behind "m": the name of its span."""
    last = name.rpartition(" ")[2]
    return f"m{last}" if name.startswith("moment ") else last
