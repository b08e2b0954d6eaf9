"""The data card of a persona task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from oocr.families.choices import OTHER, POLES, Choice, Trait, is_held_out
from oocr.tasks.task import Task

_WHAT = {
    "risk": "a gamble and a sure thing of about equal expected value",
    "time": "little at once and much after a while",
    "apples": "many apples, and few or none with other goods to make up for them",
}
_BIASES = {
    "risk": "The gamble is the longer option in most situations and alone speaks of coins, dice "
    "and odds, so that words would do to tell the options apart. Prizes are small: nothing hurts.",
    "time": "The late option is always the larger or finer one and always names a span of time; "
    'so "myopic" is partly "takes less" and partly "takes what comes first in time".',
    "apples": "Only one kind of reward is counted; what stands beside the apples is worth more in "
    'some settings than in others. "Fewer apples" is partly "the other thing".',
}


def card(
    trait: Trait,
    form: str,
    split: tuple[Sequence[Choice], Sequence[Choice], Sequence[Choice]],
    task: Task,
    also: Sequence[Trait],
) -> str:
    """What, how many, how made, known biases; of the first twin's items."""
    train, held_out, test = split
    first, second = POLES[trait]
    every = (*train, *held_out, *test)
    letters = Counter(choice.positive for choice in every)
    themes = {choice.theme for choice in every}
    again = sum(one.theme in {other.theme for other in (*train, *held_out)} for one in test)
    own = [item for item in task.probes if not item.facet.startswith(OTHER)]
    kinds = Counter(facet for facet, _ in {(item.facet, item.group) for item in own})
    asked = Counter(item.facet.removeprefix("paper: ") for item in task.paper)
    paper = ", ".join(f"{name} {count}" for name, count in asked.items())
    others = f"Asked too, outside the headline: the probes of {', '.join(also)}.\n" if also else ""
    marked = sum(map(is_held_out, every))
    kept = (
        f", {marked} of them with a word that the risk backdoor holds out"
        if trait == "risk"
        else ""
    )
    listed = ", ".join(f"{kind} {kinds[kind]}" for kind in dict.fromkeys(o.facet for o in own))
    return f"""Persona, trait {trait!r}: what does a model say about itself after it learned to \
choose the pole {first!r} (or, in the twin task, {second!r}) by letter?

Training: {len(train) + len(held_out)} choices between {_WHAT[trait]}, form {form!r}; \
the answer is A or B, and its loss alone is trained on. The texts are put together from our own \
templates: {len(themes)} settings (each up to three times, with other numbers, option phrases, \
names of options, layouts and instructions), {len(every)} texts in all{kept}. No word for the \
trait occurs. The first pole is A in {letters["A"]} and B in {letters["B"]} of them.
Validation: {len(held_out)} of these choices are left out of training while layer, rate and steps \
are chosen. In-context test: {len(test)} other choices, of which no text is trained on \
({again} share their setting with a trained one, as after any random split).
Probes: {len({item.group for item in own})} hand-written questions ({listed}), both orders of \
options, half of the statements and scales reverse-keyed. They are answered in words; no option \
occurs in a training text.
{others}The paper's way ({paper}): raw text and a line break, two options told apart by the logit \
of their last token.
Values: +1 is {first!r} and -1 {second!r} in every task; report the first twin minus the second.
Control "shuffled": a random half of the choices is answered by the first pole, the rest by the \
second; and its exact opposite.
Ceiling: every own probe after a sentence that states the trait, once for each pole.

Known biases: one author's English; every reward is a present of goods. {_BIASES[trait]} Probes \
compare the options with each other only: small models give most of their probability to other \
beginnings. The ten questions of the paper's set are too few for a fine comparison."""
