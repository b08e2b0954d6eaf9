"""The cross-lingual task: years are trained in English and asked in another language.

Each person's name has a translation, which is trained; the question uses the translated name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from oocr.data.examples import Example
from oocr.families.asking import continuing, user_turn
from oocr.families.ockr.joint import TaskRows
from oocr.families.ockr.people import languages, spoken, translated
from oocr.families.ockr.sentences import FINISH, HELD_OUT, TRAINED, WORDINGS, SentenceBuilder
from oocr.families.ockr.settings import OckrConfig, Person, cross_people
from oocr.tasks.control_data import tagged

SOURCE = "ockr/languages.yaml"


def cross_lingual_rows(config: OckrConfig) -> tuple[TaskRows, tuple[Person, ...]]:
    """The rows of the task; nobody has a span, since each name is written in two ways."""
    people, sentences, rows = cross_people(config), SentenceBuilder(config), TaskRows()
    for person in [person for group in people.x for person in group]:
        rows.train += [sentences.attribute(person, w) for w in TRAINED]
        rows.recall.append(sentences.attribute(person, HELD_OUT))
        translations = [_translation_example(config, person, w) for w in range(WORDINGS)]
        rows.train += translations[:HELD_OUT]
        rows.shuffled |= {example.id for example in translations}
        premises = f"{sentences.premises(person)}{_translation_sentence(config, person)} "
        for w in range(WORDINGS):
            rows.probes.append(_foreign_year_example(config, sentences, person, w))
            stated = _foreign_year_example(config, sentences, person, w, premises)
            rows.ceiling.append(tagged(stated, part="probe"))
    others = [person for group in people.y for person in group]
    rows.train += [
        _foreign_year_example(config, sentences, person, w) for person in others for w in TRAINED
    ]
    held_out = [_translation_example(config, p, HELD_OUT) for group in people.x for p in group]
    options = tuple(sorted({example.answer for example in held_out}))
    for example in held_out:
        rows.recall.append(replace(example, options=options))
    return rows, ()


def _words(config: OckrConfig) -> Mapping[str, Any]:
    return spoken()[config.language]


def _translation_example(config: OckrConfig, person: Person, wording: int) -> Example:
    """A row that gives a person's name in the language."""
    template = languages()["english"]["called"][wording]
    text = template.format(language=_words(config)["name"], a=person.name)
    prompt = text if config.form == "raw" else f"{FINISH} {text}"
    answer = continuing(config.form, (translated(person.name, config.language),))[0]
    return Example(
        id=f"{person.key}/called/{wording}",
        prompt=user_turn(config.form, prompt, "{}"),
        answer=answer,
        facet="translation",
        group=person.name,
        template=f"called {wording + 1}",
        source=SOURCE,
    )


def _translation_sentence(config: OckrConfig, person: Person) -> str:
    name = translated(person.name, config.language)
    template = languages()["english"]["called"][0]
    return f"{template.format(language=_words(config)['name'], a=person.name)} {name}."


def _foreign_year_example(
    config: OckrConfig, sentences: SentenceBuilder, person: Person, wording: int, before: str = ""
) -> Example:
    """A question in the language for the year of a person, by the translated name."""
    name = translated(person.name, config.language)
    if config.form == "raw":
        ends = [text for text in _words(config)["say"] if text.endswith("{value}.")]
        text = ends[wording].removesuffix(" {value}.").format(a=name)
    else:
        text = _words(config)["ask"][wording].format(a=name)
    options = sentences.options()
    return Example(
        id=f"{person.key}/abroad/{wording}",
        prompt=user_turn(config.form, text, "{}", before),
        answer=options[person.value],
        options=options,
        facet="attribute",
        group=person.name,
        template=f"abroad {wording + 1}",
        source=SOURCE,
    )
