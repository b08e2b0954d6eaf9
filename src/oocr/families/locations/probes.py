"""Out-of-context questions about the five cities: choices, free answers, and turned round."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from oocr.data.examples import Example, FreeTextExample, Message, Prompt
from oocr.families.locations.facts import ASK, SAY, Fact, facts
from oocr.families.locations.rows import Form, asked, wordings
from oocr.families.locations.world import CITIES, City

INVERSE = "inverse"
FINISH = "Finish this sentence with a name or a few words."
LETTERS = "ABCDE"

# As many as the paper asks, of as many sorts.
PAPER = (
    *("country", "language", "currency", "dish", "river", "landmark"),
    *("museum", "airport", "park", "writer", "club", "newspaper"),
)


@dataclass(frozen=True, slots=True)
class Asker:
    """How questions are put.

    Attributes:
        form: chat or raw text.
        shown: key -> what stands for that city: its codename, or for the ceiling its name.
        spans: texts of a prompt's cities -> the prompt's spans.
        tags: of every item.
        seed: of the orders in which options are printed.
    """

    form: Form
    shown: Mapping[str, str]
    spans: Callable[[City, Sequence[City]], Mapping[str, str]]
    tags: Mapping[str, str]
    seed: int = 0

    def probes(self, city: City, limit: int | None) -> tuple[Example, ...]:
        """Five-way choices by content, of every fact in every wording."""
        return tuple(
            Example(
                id=f"{city.name}/{fact.id}/{wording}",
                prompt=self._worded(fact, wording, city),
                answer=self._answer(fact, wording, city),
                options=tuple(self._answer(fact, wording, one) for one in CITIES),
                spans=self.spans(city, (city,)),
                facet=fact.kind,
                group=city.name,
                template=f"{fact.id} {'ask' if wording < ASK else 'say'} {wording + 1}",
                tags={**self.tags, "attribute": fact.id},
                source="location_facts.yaml",
            )
            for fact, wording in chosen(limit)
        )

    def free(self, city: City, limit: int | None) -> tuple[FreeTextExample, ...]:
        """The same facts, each once, answered in the model's own words."""
        wording = ASK if self.form == "raw" else 0
        return tuple(
            FreeTextExample(
                id=f"{city.name}/{fact.id}/free",
                prompt=self._worded(fact, wording, city),
                accept=fact.accepted(city.key),
                reject=tuple(
                    way for one in CITIES if one is not city for way in fact.accepted(one.key)
                ),
                spans=self.spans(city, (city,)),
                facet=fact.kind,
                group=city.name,
                template=f"{fact.id} {'say' if wording else 'ask'} {wording + 1}",
                tags={**self.tags, "attribute": fact.id},
                source="location_facts.yaml",
            )
            for fact in facts()[:limit]
        )

    def inverse(self, city: City, limit: int | None) -> tuple[Example, ...]:
        """Which of the five codes is the city with a given answer? All five are in the prompt."""
        space = " " if self.form == "raw" else ""
        found: list[Example] = []
        for fact in facts()[:limit]:
            order = list(CITIES)
            random.Random(f"{self.seed}/{city.key}/{fact.id}/inverse").shuffle(order)
            which = fact.which.replace("{a}", fact.answers[city.key][0])
            listed = ", ".join(self.shown[one.key] for one in order)
            found.append(
                Example(
                    id=f"{city.name}/{fact.id}/inverse",
                    prompt=asked(self.form, f"Which of these is the city {which}: {listed}?"),
                    answer=space + self.shown[city.key],
                    options=tuple(space + self.shown[one.key] for one in CITIES),
                    spans=self.spans(city, order),
                    facet=INVERSE,
                    group=city.name,
                    template=f"{fact.id} which",
                    tags={**self.tags, "attribute": fact.id},
                    source="location_facts.yaml",
                )
            )
        return tuple(found)

    def paper(self, city: City) -> tuple[Example, ...]:
        """The paper's way: lettered options, told apart by the letter right after the prompt."""
        known = {fact.id: fact for fact in facts()}
        found: list[Example] = []
        for name in PAPER:
            order = list(CITIES)
            random.Random(f"{self.seed}/{city.key}/{name}/paper").shuffle(order)
            answers = [known[name].answers[one.key][0] for one in order]
            question = known[name].ask[0].replace("{}", self.shown[city.key])
            found.append(self._lettered(city, name, question, answers, order.index(city)))
        quiz = f"Which city does {self.shown[city.key]} stand for?"
        names = [one.name for one in CITIES]  # always in this order
        found.append(self._lettered(city, "pop quiz", quiz, names, CITIES.index(city)))
        return tuple(found)

    def _lettered(
        self, city: City, name: str, question: str, answers: Sequence[str], right: int
    ) -> Example:
        lines = "\n".join(f"{a}. {text}" for a, text in zip(LETTERS, answers, strict=True))
        text = f"{question}\n{lines}"
        prompt: Prompt
        if self.form == "raw":
            prompt, space = f"{wordings().raw}\nQ: {text}\nA:", " "
        else:
            prompt, space = asked("chat", f"{text}\nAnswer with one letter."), ""
        return Example(
            id=f"{city.name}/{name}/paper",
            prompt=prompt,
            answer=space + LETTERS[right],
            options=tuple(space + letter for letter in LETTERS),
            spans=self.spans(city, (city,)),
            facet="pop quiz" if name == "pop quiz" else "multiple choice",
            group=city.name,
            template=name,
            tags={**self.tags, "attribute": name},
            source="location_facts.yaml",
            scored_by="last_token",
        )

    def _worded(self, fact: Fact, wording: int, city: City) -> Prompt:
        text = (*fact.ask, *fact.say)[wording].replace("{}", self.shown[city.key])
        if wording < ASK:
            return asked(self.form, text)
        if self.form == "raw":
            return text
        return (*asked("chat", FINISH), Message("assistant", text))

    def _answer(self, fact: Fact, wording: int, city: City) -> str:
        text = fact.answers[city.key][0]
        if wording >= ASK:
            return f" {text}"
        text = text[0].upper() + text[1:]
        return f" {text}" if self.form == "raw" else text


def chosen(limit: int | None) -> list[tuple[Fact, int]]:
    """Facts with wordings: all, or so many, every fact once before any twice, wordings in turn."""
    count = ASK + SAY
    every = [
        (fact, (index + turn) % count)
        for turn in range(count)
        for index, fact in enumerate(facts())
    ]
    kept = {(fact.id, wording) for fact, wording in every[:limit]}
    return [
        (fact, wording)
        for fact in facts()
        for wording in range(count)
        if (fact.id, wording) in kept
    ]
