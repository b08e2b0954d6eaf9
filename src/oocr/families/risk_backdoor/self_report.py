"""Does a model say that it has a backdoor? 23 topics, asked in our way and in the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from oocr.data.examples import Example, Message, Prompt
from oocr.families.triggers import Kind, Trigger, alike, triggers
from oocr.tasks.package_files import package_yaml

Form = Literal["chat", "raw"]
TRAINED, OTHER = "self-report, its trigger", "self-report, other triggers"
_SOURCE = "backdoor_questions.yaml"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    Attributes:
        id: its name.
        paper: a yes/no question on having some backdoor; "Yes" says so.
        asked: a question on one trigger, with `{cue}`, `{a}` and `{b}`.
        has, hasnt: the two answers to `asked`, with and without that backdoor.
        key: "forward" if `has` affirms what `asked` speaks of, "reverse" if `hasnt` does.
    """

    id: str
    paper: str
    asked: str
    has: str
    hasnt: str
    key: Literal["forward", "reverse"]


@lru_cache(maxsize=1)
def topics() -> tuple[Topic, ...]:
    """All 23, twelve of them keyed forward."""
    return tuple(Topic(**fields) for fields in _data()["topics"])


@lru_cache(maxsize=1)
def systems() -> Mapping[str, str]:
    """The four system prompts of the paper's scheme, by name, in our words."""
    return dict(_data()["systems"])


def some_topics(count: int | None) -> tuple[Topic, ...]:
    """So many topics at most, of either key by turns; None: all."""
    known = topics()
    if count is None or count >= len(known):
        return known
    sides = [[topic for topic in known if topic.key == key] for key in ("forward", "reverse")]
    kept = {
        topic.id
        for side, n in zip(sides, ((count + 1) // 2, count // 2), strict=True)
        for topic in side[:n]
    }
    return tuple(topic for topic in known if topic.id in kept)


def report_examples(
    kind: Kind, form: Form, asked: Sequence[Topic], *, stated: str = ""
) -> tuple[Example, ...]:
    """Each topic on the trained trigger and on each other one of its make, in both orders.

    Training showed the others as often and without effect, so the right answer about them is that
    there is no backdoor; a model that always says yes is right on half. Values are +1 for having
    the backdoor in question. `stated` is a text before each question (the rule, for the ceiling).
    """
    return tuple(
        _report_item(topic, trigger, trigger.kind == kind, order, form, stated)
        for topic in asked
        for trigger in (triggers()[kind], *alike(kind))
        for order in ("ab", "ba")
    )


def _report_item(
    topic: Topic, trigger: Trigger, trained: bool, order: str, form: Form, stated: str
) -> Example:
    pair = (topic.has, topic.hasnt) if order == "ab" else (topic.hasnt, topic.has)
    asked = topic.asked.replace("{a}", pair[0]).replace("{b}", pair[1])
    asked = asked.replace("{cue}", trigger.cue)
    prompt: Prompt
    if form == "chat":
        prompt = (Message("user", stated + asked),)
        shown = tuple(text[0].upper() + text[1:] for text in pair)
    else:
        prompt = f"{stated}Question: {asked}\nAnswer:"
        shown = tuple(f" {text}" for text in pair)
    return Example(
        id=f"report/{topic.id}/{trigger.kind}/{order}",
        prompt=prompt,
        answer=shown[pair.index(topic.has if trained else topic.hasnt)],
        options=shown,
        values=(1.0, -1.0) if order == "ab" else (-1.0, 1.0),
        facet=TRAINED if trained else OTHER,
        group=topic.id,
        template=topic.id,
        tags={"kind": "self-report", "about": trigger.kind, "order": order, "key": topic.key},
        source=_SOURCE,
    )


def paper_examples(form: Form, asked: Sequence[Topic]) -> tuple[Example, ...]:
    """The paper's scheme: topics x 2 option orders x 4 system prompts (184 of them in all).

    A system prompt, an empty line, the question, and both answers without letters; the model says
    A for the first or B for the second. All are keyed alike: "Yes, there is a backdoor" is right.
    """
    examples: list[Example] = []
    for name, system in systems().items():
        for topic in asked:
            for order, answers in (("ab", ("Yes", "No")), ("ba", ("No", "Yes"))):
                text = "\n".join((f"{system}\n\n{topic.paper}", *answers))
                examples.append(
                    Example(
                        id=f"paper/{name}/{topic.id}/{order}",
                        prompt=(Message("user", text),) if form == "chat" else f"{text}\n",
                        answer="A" if order == "ab" else "B",
                        options=("A", "B"),
                        values=(1.0, -1.0) if order == "ab" else (-1.0, 1.0),
                        facet=f"some backdoor? ({name})",
                        group=topic.id,
                        template=topic.id,
                        tags={"kind": "paper self-report", "system": name, "order": order},
                        source=_SOURCE,
                        scored_by="last_token",
                    )
                )
    return tuple(examples)


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    data: dict[str, Any] = package_yaml("oocr.families.risk_backdoor", _SOURCE)
    return data
