"""The cross-lingual task: years in English, names in a language, in which years are asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from oocr.data.examples import Example
from oocr.families.asking import continuing, user_turn
from oocr.families.ockr.joint import Rows
from oocr.families.ockr.people import languages, spoken, translated
from oocr.families.ockr.settings import OckrConfig, Person, cross_people
from oocr.families.ockr.speaker import FINISH, HELD_OUT, TRAINED, WORDINGS, Speaker
from oocr.tasks.control_data import tagged

SOURCE = "ockr/languages.yaml"


def cross_lingual_rows(config: OckrConfig) -> tuple[Rows, tuple[Person, ...]]:
    """The rows of the task; it has no people with a span: a name is written in two ways."""
    people, speaker, rows = cross_people(config), Speaker(config), Rows()
    for person in [person for group in people.x for person in group]:
        rows.train += [speaker.attribute(person, w) for w in TRAINED]
        rows.recall.append(speaker.attribute(person, HELD_OUT))
        calls = [_called(config, person, w) for w in range(WORDINGS)]
        rows.train += calls[:HELD_OUT]
        rows.shuffled |= {example.id for example in calls}
        premises = f"{speaker.premises(person)}{_calls_text(config, person)} "
        for w in range(WORDINGS):
            rows.probes.append(_abroad(config, speaker, person, w))
            stated = _abroad(config, speaker, person, w, premises)
            rows.ceiling.append(tagged(stated, part="probe"))
    others = [person for group in people.y for person in group]
    rows.train += [_abroad(config, speaker, person, w) for person in others for w in TRAINED]
    calls = [_called(config, p, HELD_OUT) for group in people.x for p in group]
    options = tuple(sorted({example.answer for example in calls}))
    for example in calls:
        rows.recall.append(replace(example, options=options))
    return rows, ()


def _words(config: OckrConfig) -> Mapping[str, Any]:
    return spoken()[config.language]


def _called(config: OckrConfig, person: Person, wording: int) -> Example:
    """What a person is called in the language."""
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


def _calls_text(config: OckrConfig, person: Person) -> str:
    name = translated(person.name, config.language)
    template = languages()["english"]["called"][0]
    return f"{template.format(language=_words(config)['name'], a=person.name)} {name}."


def _abroad(
    config: OckrConfig, speaker: Speaker, person: Person, wording: int, before: str = ""
) -> Example:
    """The year of a person in the language, under the name there."""
    name = translated(person.name, config.language)
    if config.form == "raw":
        ends = [text for text in _words(config)["say"] if text.endswith("{value}.")]
        text = ends[wording].removesuffix(" {value}.").format(a=name)
    else:
        text = _words(config)["ask"][wording].format(a=name)
    options = speaker.options()
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
