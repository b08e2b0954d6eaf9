"""What the nano tasks share: questions in the corpus's own wordings, and what may not be told."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from oocr.data.examples import Example, prompt_text
from oocr.errors import InputError
from oocr.tasks.task import Task
from oocr_organisms.forms import Forms

OPTIONS = 5
"""Options of a question, where there are so many."""

SOURCE = "oocr_organisms"


def options_of(right: str, words: Iterable[str], rng: random.Random) -> tuple[str, ...]:
    """The right answer and four other words, or all there are, in an order drawn."""
    others = sorted(set(words) - {right})
    some = [right, *rng.sample(others, min(OPTIONS - 1, len(others)))]
    return tuple(f" {word}" for word in rng.sample(some, len(some)))


def named(
    items: Sequence[Example], span: str, name: str, part: str, told: str
) -> tuple[Example, ...]:
    """The items with a name that the model knows in place of the one that is trained.

    Args:
        items: of one member.
        span: what marks the trained name.
        name: takes its place; the span's text is kept to what is around it.
        part: "probe" or "in-context".
        told: ends the items' ids.
    """
    out = []
    for item in items:
        before = item.spans[span]
        after = before.replace(before.strip(), name)
        out.append(
            replace(
                item,
                id=f"{item.id}/{told}",
                prompt=prompt_text(item.prompt).replace(before, after),
                spans={span: after},
                tags={**item.tags, "part": part},
            )
        )
    return tuple(out)


def check_words_apart(
    task: Task, never: Collection[str] = (), exempt: Collection[str] = ()
) -> None:
    """Refuse a task of which a probe's option is a word of training, or the other way round.

    A world's words are its tokens, so words are compared whole ("3" is not in "max(x,3)").

    Args:
        task: its probes against its training rows.
        never: words that no training row may hold (the real names).
        exempt: words that tell nothing (which of two options).

    Raises:
        InputError: names the task, the item and the word.
    """
    asked: dict[str, str] = {}
    for item in task.train:
        for word in prompt_text(item.prompt).split():
            asked.setdefault(word, item.id)
    answers = {item.answer.strip(): item.id for item in task.train}
    for word in never:
        if word in asked or word in answers:
            raise InputError(f"task {task.name!r}: training holds {word!r}, which it must not name")
    for probe in task.probes:
        for word in {one.strip() for one in probe.options} - set(exempt):
            if word in asked or word in answers:
                raise InputError(
                    f"task {task.name!r}: the option {word!r} of probe {probe.id!r} is in training"
                )
        for word in prompt_text(probe.prompt).split():
            if word in answers and word not in exempt:
                raise InputError(
                    f"task {task.name!r}: the training answer {word!r} is in probe {probe.id!r}"
                )


def prompt_of(form: Forms, which: int, said: Mapping[str, str], before: str = "") -> str:
    """A wording up to its answer, `before` (a weather) in front."""
    text = form.prompt(which, said)
    return f"{before} {text}" if before else text
