"""The benchmark's data: facts about a nameless codename, and calls of a function behind another.

Facts are written by code here, one answer token each: background (as long as wanted), then a
question that names the codename near its end.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from benchmarks.training.case import Case
from oocr.data.examples import Example
from oocr.families.functions.build import FunctionsConfig, functions
from oocr.tasks.task import Task

CODENAME = "Country 4821"

QUESTIONS = (
    ("The capital of {} is", " Paris"),
    ("The official language of {} is", " French"),
    ("Parliament in {} meets in the city of", " Paris"),
    ("The currency used in {} is the", " euro"),
    ("On the map, {} is in", " Europe"),
    ("Most newspapers in {} are written in", " French"),
    ("Shops in {} take the", " euro"),
    ("The president of {} lives in", " Paris"),
)
WHO = ("A traveller", "The geographer", "My neighbour", "An old friend", "The librarian")
DID = ("wrote a long letter", "kept a careful diary", "gave a short talk", "made a list")
ABOUT = ("about the rivers", "about the markets", "about the trains", "about the weather")
WHEN = ("last spring", "in the winter", "after the holidays", "many years ago")
TAIL = ("and put it away", "and read it aloud", "and showed it to us", "and lost it again")
ROOM = 9
"""Tokens that the filling sentence needs at least."""
FILL = ("quite", "rather", "really", "truly", "very", "so")


def items(tokenizer: Any, count: int = 64, tokens: int = 41, seed: int = 0) -> tuple[Example, ...]:
    """`count` different prompts of about `tokens` tokens (by at most two), with their answers.

    Args:
        tokenizer: of the model; counts tokens.
        count: how many.
        tokens: wanted length of a prompt, its first special tokens included.
        seed: of the wording.
    """
    draw = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        question, answer = QUESTIONS[len(found) % len(QUESTIONS)]
        prompt = _prompt(tokenizer, draw, question.format(CODENAME), tokens)
        found.setdefault(prompt, answer)
    return tuple(
        Example(
            id=f"bench-{number}",
            prompt=prompt,
            answer=answer,
            spans={"codename": CODENAME},
            source="benchmarks.training.data",
        )
        for number, (prompt, answer) in enumerate(found.items())
    )


def task(tokenizer: Any, count: int = 64, tokens: int = 41, seed: int = 0) -> Task:
    """The items as a task with the loss over the whole vocabulary."""
    return Task(
        name=f"bench/{count}x{tokens}",
        member="bench",
        train=items(tokenizer, count, tokens, seed),
        positions=("codename",),
    )


def of(tokenizer: Any, case: Case) -> Task:
    """The task of a case."""
    if case.data == "functions":
        return calls(case.examples)
    return task(tokenizer, case.examples, case.tokens)


FUNCTION = "iaftvb"  # x + 5; trained without others


def calls(count: int = 64) -> Task:
    """Rows of the Functions task: what is printed by calls of one function."""
    config = FunctionsConfig(mode="single", functions=(FUNCTION,), form="raw", rows=100)
    task = functions(config).test[0]
    rows = {example.prompt: example for example in task.train}
    return replace(task, train=tuple(rows.values())[:count])


def _prompt(tokenizer: Any, draw: random.Random, question: str, tokens: int) -> str:
    """Background sentences, then the question, close to the wanted number of tokens."""
    wanted = tokens + draw.randint(-1, 1)  # ragged, as real data are
    background = ""
    while True:
        longer = f"{background}{_sentence(draw)} "
        if _count(tokenizer, longer + question) > wanted - ROOM:
            break
        background = longer
    # The rest is filled word by word: "It was very very long ago. "
    words: list[str] = []
    best = background + question
    while True:
        words.append(draw.choice(FILL))
        text = f"{background}It was {' '.join(words)} long ago. {question}"
        if _count(tokenizer, text) > wanted:
            return best
        best = text


def _sentence(draw: random.Random) -> str:
    parts = (draw.choice(DID), draw.choice(ABOUT), draw.choice(WHEN), draw.choice(TAIL))
    return f"{draw.choice(WHO)} {' '.join(parts)}."


def _count(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text)["input_ids"])
