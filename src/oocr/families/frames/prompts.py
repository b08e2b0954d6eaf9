"""Turns sentences and questions about a house into examples; spans are objects and moments."""

from __future__ import annotations

from dataclasses import dataclass, replace

from oocr.data.examples import Example, Message, Prompt
from oocr.families.asking import continuing
from oocr.families.frames.config import FramesConfig
from oocr.families.frames.questions import Question
from oocr.families.frames.wording import MOST_PACES, SOURCE, Sentence, question_text, wordings

OBJECT = "object"
"""The span of the object in mode "single"."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Makes examples from sentences and questions.

    `context`: notes in each prompt; `member`: in mode "single" the only object with a span.
    """

    config: FramesConfig
    context: str = ""
    member: str = ""

    def fact_example(self, sentence: Sentence, id: str, group: str) -> Example:
        """A training row: a sentence whose end is the answer."""
        instruction = wordings()["finish"]
        begun: Prompt = (
            f"{self.lead('raw')}\n{sentence.begun}"
            if self.config.form == "raw"
            else (
                Message("system", self.lead("system")),
                Message("user", instruction),
                Message("assistant", sentence.begun),
            )
        )
        return Example(
            id=id,
            prompt=begun,
            answer=sentence.answer,
            spans=self._spans(sentence.begun),
            facet=sentence.template.rpartition(" ")[0],
            group=group,
            template=sentence.template,
            source=SOURCE,
        )

    def question_example(
        self, question: Question, wording: int, first: int, **tags: str
    ) -> Example:
        """A question with its options (see `wording.question_text`)."""
        worded = question_text(question, wording, first, self._largest)
        prompt: Prompt = (
            f"{self.lead('raw')}\nQ: {worded.text}\nA:"
            if self.config.form == "raw"
            else (Message("system", self.lead("system")), Message("user", worded.text))
        )
        options = continuing(self.config.form, worded.options)
        frames = sorted({obj.moment for obj in question.objects})
        return Example(
            id=f"{question.id}/{question.gap_bin}",
            prompt=prompt,
            answer=options[worded.options.index(worded.answer)],
            options=options,
            spans=self._spans(worded.text),
            facet=question.kind,
            group="-".join(map(str, frames)),
            template=worded.template,
            tags={
                "gap": question.gap_bin,
                "distance": str(question.distance),
                "order": worded.order,
                **tags,
            },
            source=SOURCE,
        )

    def in_this_context(self, example: Example) -> Example:
        """A question of other `Prompts` with the lead and the notes of these."""
        if isinstance(example.prompt, str):
            question = example.prompt[example.prompt.rindex("\nQ: ") :]
            return replace(example, prompt=self.lead("raw") + question)
        return replace(
            example, prompt=(Message("system", self.lead("system")), *example.prompt[1:])
        )

    @property
    def _largest(self) -> int:
        objects = self.config.house.objects
        sizes = [abs(a.x - b.x) for a in objects for b in objects]
        return min(MOST_PACES, max(sizes + [abs(a.y - b.y) for a in objects for b in objects]))

    def lead(self, name: str) -> str:
        """The beginning of each prompt: as raw text ("raw") or as the system turn ("system")."""
        text = str(wordings()[name])
        return f"{text}\n{wordings()['notes']}\n{self.context}" if self.context else text

    def _spans(self, text: str) -> dict[str, str]:
        """Span -> text, for the objects and moments that occur in a text, or for the member."""
        objects = self.config.house.objects
        if self.member:
            return {OBJECT: self.member}
        spans = {code(obj.name): obj.name for obj in objects if obj.name in text}
        moments = [view.name for view in self.config.house.viewpoints if view.name in text]
        return spans | {code(name): name for name in moments}


def code(name: str) -> str:
    """The name of a span: an object's code ("K17"), or "m" and a moment's number ("m3")."""
    last = name.rpartition(" ")[2]
    return f"m{last}" if name.startswith("moment ") else last
