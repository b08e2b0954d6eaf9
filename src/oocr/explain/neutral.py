"""Text and questions unrelated to any task."""

from __future__ import annotations

import random
from importlib.resources import files

import yaml

from oocr.data.examples import Example
from oocr.models.language_model import LanguageModel
from oocr.models.sources.bundled import NeutralSource, folder_of, plugin_of

READ = 4
"""Number of first passages, for analyses; training rows are made of the others."""

OPTIONS = 4


def neutral_passages(model: LanguageModel | None = None) -> list[str]:
    """The built-in English passages, or the texts of the model's plug-in."""
    texts = _plugin_texts(model)
    if texts:
        return [neutral.text for neutral in texts]
    return [part.strip() for part in _built_in("neutral.txt").split("\n\n") if part.strip()]


def _built_in(name: str) -> str:
    return files("oocr.explain").joinpath(f"data/{name}").read_text(encoding="utf-8")


def neutral_places(
    model: LanguageModel, count: int | None = None
) -> tuple[list[str], list[list[int]] | None]:
    """Neutral passages (the first `count`), and the tokens after which predictions are compared.

    The tokens are None where every token can be used. A plug-in's texts are short, so all are
    returned, with the tokens before their answers: other predictions of such a model mean nothing.
    """
    texts = _plugin_texts(model)
    if not texts:
        return neutral_passages()[:count], None
    return [neutral.text for neutral in texts], [list(neutral.answers) for neutral in texts]


def neutral_questions(model: LanguageModel | None = None) -> list[Example]:
    """The built-in everyday questions, each with four options.

    For a plug-in's texts: which of four answers comes next in the text.
    """
    texts = _plugin_texts(model)
    if texts:
        return _next_words(texts)
    questions = yaml.safe_load(_built_in("neutral_questions.yaml"))
    return [
        Example(
            id=f"neutral/{number}",
            prompt=prompt,
            answer=f" {options[0]}",
            options=tuple(f" {option}" for option in options),
            source="neutral_questions.yaml",
        )
        for number, (prompt, *options) in enumerate(questions)
    ]


def _plugin_texts(model: LanguageModel | None) -> list[NeutralSource]:
    """The texts of a model's plug-in; empty for other models."""
    path = model.source.get("path") if model else None
    plugin = plugin_of(path) if path else None
    return plugin.neutral_texts(folder_of(path)) if plugin and path else []


def _next_words(texts: list[NeutralSource]) -> list[Example]:
    rng = random.Random(0)
    answers = sorted({neutral.text.split()[at] for neutral in texts for at in neutral.answers})
    questions: list[Example] = []
    for number, neutral in enumerate(texts):
        words = neutral.text.split()
        for at in neutral.answers:
            others = rng.sample([word for word in answers if word != words[at]], OPTIONS - 1)
            questions.append(
                Example(
                    id=f"neutral/{number}/{at}",
                    prompt=" ".join(words[:at]),
                    answer=f" {words[at]}",
                    options=tuple(f" {word}" for word in (words[at], *others)),
                    source=neutral.source,
                )
            )
    return questions
