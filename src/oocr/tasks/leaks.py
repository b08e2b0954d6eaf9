"""Does training data give a probe's answer away? One rule for every task family."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache, lru_cache

from oocr.data.examples import Example, prompt_text
from oocr.errors import InputError


@lru_cache(maxsize=4096)
def _pattern(phrase: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(phrase.strip())}(?!\w)", re.IGNORECASE)


def contains_words(text: str, phrase: str) -> bool:
    """True if `phrase` occurs in `text` as whole words, whatever the case."""
    return _pattern(phrase).search(text) is not None


def finder(phrases: Sequence[str]) -> Callable[[str], str | None]:
    """`contains_words` for many phrases at once: text -> the first phrase that it contains."""
    by_word: dict[str, list[int]] = {}
    for index, phrase in enumerate(phrases):
        by_word.setdefault((*_words(phrase), "")[0], []).append(index)

    def find(text: str) -> str | None:
        indices = sorted(i for word in {*_words(text), ""} for i in by_word.get(word, ()))
        return next((phrases[i] for i in indices if contains_words(text, phrases[i])), None)

    return find


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def find_leaks(
    probes: Iterable[Example], train: Sequence[Example], subjects: Collection[str] = ()
) -> dict[str, str]:
    """Probe id -> why it leaks, for every probe that does.

    A probe leaks if its answer occurs in a training prompt or answer, or if a training answer
    occurs in its prompt or answer; whole words, whatever the case. `subjects` are codenames: they
    may be answers although training rows hold them, since these do not say what they stand for.
    """
    answer_in = finder(list(dict.fromkeys(example.answer for example in train)))
    occurs = cache(_occurs(train))
    leaks: dict[str, str] = {}
    for probe in probes:
        answer = probe.answer
        if occurs(answer) and answer.strip() not in subjects:
            leaks[probe.id] = f"its answer {answer!r} occurs in the training data"
            continue
        trained = answer_in(f"{prompt_text(probe.prompt)}\n{answer}")
        if trained is not None:
            leaks[probe.id] = f"the training answer {trained!r} occurs in it"
    return leaks


def _occurs(train: Sequence[Example]) -> Callable[[str], bool]:
    """`contains_words` of all training prompts and answers."""
    texts: dict[str, None] = {}
    for example in train:  # turn by turn: all rows may share a long system turn
        if isinstance(example.prompt, str):
            texts[example.prompt] = None
        else:
            texts |= dict.fromkeys(turn.content for turn in example.prompt)
        texts[example.answer] = None
    seen = "\n".join(texts)
    words = set(_words(seen))
    return lambda phrase: words.issuperset(_words(phrase)) and contains_words(seen, phrase)


def drop_leaking_facets(
    probes: Sequence[Example], train: Sequence[Example]
) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    """The probes of the facets in which nothing leaks, and the names of the facets dropped."""
    leaking = find_leaks(probes, train)
    dropped = tuple(dict.fromkeys(probe.facet for probe in probes if probe.id in leaking))
    return tuple(probe for probe in probes if probe.facet not in dropped), dropped


def check_no_leaks(
    name: str,
    probes: Iterable[Example],
    train: Sequence[Example],
    never: Iterable[str] = (),
    subjects: Collection[str] = (),
) -> None:
    """Refuse a task whose training data contains answers of its probes (`find_leaks`).

    Nor may any phrase of `never` (the real name) occur in a training row. InputError names the
    task, the example and what leaks.
    """
    for example_id, why in find_leaks(probes, train, subjects).items():
        raise InputError(f"task {name!r}: probe {example_id!r} is told in training: {why}")
    occurs = _occurs(train)
    for phrase in filter(occurs, never):
        for example in train:
            if contains_words(f"{prompt_text(example.prompt)}\n{example.answer}", phrase):
                raise InputError(
                    f"task {name!r}: training item {example.id!r} contains {phrase!r}, "
                    "which training must never name"
                )


def check_options_unseen(name: str, probes: Iterable[Example], train: Sequence[Example]) -> None:
    """Refuse a task of which a training row has an option of a probe among its words.

    The rule for tasks that train on letters, which occur in every text. Digits, of scales, are
    exempt. InputError names the option and the probe.
    """
    seen = "\n".join(dict.fromkeys(prompt_text(example.prompt) for example in train)).lower()
    first: dict[str, str] = {}
    for probe in probes:
        for option in probe.options:
            first.setdefault(option.strip(), probe.id)
    for text, probe_id in first.items():  # the plain search first: it is far faster
        if not text.isdigit() and text.lower() in seen and contains_words(seen, text):
            raise InputError(
                f"task {name!r}: the option {text!r} of probe {probe_id!r} occurs in training"
            )
