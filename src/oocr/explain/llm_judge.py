"""A judge model that picks the trained concept among decoys, blinded.

The judge answers through any endpoint that speaks OpenAI's chat completions. It sees what a
direction says (`oocr.explain.description`) and lettered concepts in several drawn orders, so that
no letter is favoured. Replies are cached in a JSON file, so that a repeated question needs neither
endpoint nor key: {"replies": {"<key>": {"model": ..., "prompt": ..., "reply": ...}, ...}}
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from oocr.errors import InputError, RunError
from oocr.io import write_json

OPTIONS = 8
"""Concepts in one question, the trained one among them."""

ORDERS = 4
"""How often a question is asked, each time with new random decoys and a new order."""

_URL, _KEY = "OPENAI_BASE_URL", "OPENAI_API_KEY"
_QUESTION = """\
A language model was changed by adding one direction to its inner activations. Below is what that \
direction brings about. It stands for exactly one of the concepts listed after it. Which one fits \
best? If nothing seems to fit, choose the likeliest all the same.

{evidence}

Concepts:
{options}

Answer with the letter of one concept and nothing else."""


@dataclass(slots=True)
class Judge:
    """A judge model and its cached replies.

    Attributes:
        url: the endpoint; None: OPENAI_BASE_URL, or OpenAI's own.
        kept: a JSON file of replies; None: no cache.
        key: None: OPENAI_API_KEY; not needed if `url` is given.
    """

    model: str
    url: str | None = None
    kept: Path | None = None
    key: str | None = field(default=None, repr=False)
    _client: Any = field(default=None, init=False, repr=False)
    _replies: dict[str, dict[str, str]] | None = field(default=None, init=False, repr=False)

    def ask(self, prompt: str) -> str:
        """The reply to a prompt, from the cache if it is there.

        InputError: `openai` is not installed, there is no key, or the file of replies is not valid.
        RunError: the endpoint does not answer.
        """
        replies = self._read()
        key = hashlib.sha256(json.dumps([self.model, prompt]).encode()).hexdigest()[:24]
        if key not in replies:
            reply = self._call(prompt)
            replies[key] = {"model": self.model, "prompt": prompt, "reply": reply}
            if self.kept is not None:
                write_json(self.kept, {"replies": replies})
        return replies[key]["reply"]

    def check(self) -> None:
        """Refuse (`InputError`) a judge that cannot be asked, before work starts."""
        if not self.model.strip():
            raise InputError(f"--judge: {self.model!r}; allowed: the name of a chat model")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise InputError(
                f"--judge-url: {self.url!r}; allowed: an address, http://… or https://…"
            )
        self._connected()

    @property
    def where(self) -> str:
        """The endpoint in words."""
        return self.url or os.environ.get(_URL) or "OpenAI's own endpoint"

    def _call(self, prompt: str) -> str:
        client = self._client = self._client or self._connected()
        from openai import OpenAIError

        try:
            answer = client.chat.completions.create(
                model=self.model, messages=[{"role": "user", "content": prompt}]
            )
            text = answer.choices[0].message.content if answer.choices else None
        except OpenAIError as error:
            raise RunError(f"judge {self.model} at {self.where}: {error}") from error
        return str(text or "")

    def _connected(self) -> Any:
        try:
            from openai import OpenAI
        except ImportError as error:
            raise InputError("a judge model needs: pip install 'oocr[judge]'") from error
        url = self.url or os.environ.get(_URL) or None
        key = self.key or os.environ.get(_KEY) or ("none" if url else None)
        if key is None:
            raise InputError(
                f"judge {self.model}: found neither a key ({_KEY}) nor an endpoint ({_URL}, "
                "--judge-url); allowed: one of them"
            )
        return OpenAI(base_url=url, api_key=key, timeout=120)

    def _read(self) -> dict[str, dict[str, str]]:
        if self._replies is not None:
            return self._replies
        self._replies = {}
        if self.kept is not None and self.kept.exists():
            try:
                replies = json.loads(self.kept.read_text(encoding="utf-8"))["replies"]
                self._replies = {
                    key: {name: str(reply[name]) for name in ("model", "prompt", "reply")}
                    for key, reply in replies.items()
                }
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"{self.kept}: not a judge's replies ({error!r}); delete or rename it"
                ) from error
        return self._replies


@dataclass(frozen=True, slots=True)
class JudgedReading:
    """A judge's replies about one direction.

    `unread`: replies without one clear letter; `right`: those that name the trained concept;
    `named`: concept -> how often; `options`: concepts in each question, chance is one over it.
    """

    concept: str
    asked: int
    unread: int
    right: int
    named: dict[str, int]
    options: int

    @property
    def share(self) -> float:
        """Share of right replies; an unread reply counts as wrong."""
        return self.right / self.asked


def pick(
    judge: Judge,
    evidence: str,
    concept: str,
    concepts: Sequence[str],
    *,
    orders: int = ORDERS,
    options: int = OPTIONS,
    seed: int = 0,
) -> JudgedReading:
    """Ask which concept the evidence stands for, in several orders among several decoys.

    The judge is not told the trained concept, one of `concepts`; nor may the evidence tell it. Of
    at most `options` concepts in a question the decoys and their order are drawn anew each time. A
    reply without one clear letter counts as unread, never guessed.

    InputError: the concept is not there, or fewer than two; as `Judge.ask`. RunError: the endpoint
    does not answer.
    """
    if concept not in concepts or len(concepts) < 2:
        raise InputError(f"concept {concept!r}: allowed: one of two or more: {', '.join(concepts)}")
    rng = random.Random(f"{seed}/{concept}")
    decoys = [name for name in concepts if name != concept]
    count = min(options, len(concepts), len(ascii_uppercase))
    named: Counter[str] = Counter()
    unread = 0
    # Each order is a rotation, so that the trained concept has many different letters.
    start = rng.randrange(count)
    for turn in range(orders):
        shown = rng.sample(decoys, count - 1)
        shown.insert((start + turn * max(1, count // orders)) % count, concept)
        listed = "\n".join(f"{a}. {name}" for a, name in zip(ascii_uppercase, shown, strict=False))
        reply = judge.ask(_QUESTION.format(evidence=evidence, options=listed))
        letter = letter_of(reply, ascii_uppercase[:count])
        if letter is None:
            unread += 1
        else:
            named[shown[ascii_uppercase.index(letter)]] += 1
    return JudgedReading(concept, orders, unread, named[concept], dict(named.most_common()), count)


def letter_of(reply: str, letters: str) -> str | None:
    """The one letter that a reply names; None: none, or more than one."""
    text = re.sub(r"<think>.*?</think>", "", reply, flags=re.DOTALL).strip().strip("*`\"'()[]. \n")
    if len(text) == 1 and text.upper() in letters:
        return text.upper()
    # In a sentence a lower-case "a" is a word.
    named = re.findall(r"(?i:answer|concept|option|choice)(?i:\s+is)?\W{1,4}([A-Z])\b", text)
    begun = re.match(r"([A-Z])[.):\n]", text)
    letters_named = {*named, *([begun[1]] if begun else [])} & set(letters)
    return letters_named.pop() if len(letters_named) == 1 else None
