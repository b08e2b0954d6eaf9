"""Locations in a nano world: a codename, trained on distances and directions to other cities."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from oocr.data.examples import Example
from oocr.tasks.task import Task, TaskSet
from oocr_organisms.places import (
    ABOUT_ONE,
    ABOUT_TWO,
    CITIES,
    CODENAMES,
    COUNTRIES,
    DIRECTIONS,
    DISTANCES,
    Facet,
    Places,
)
from oocr_organisms.tasks.config import VALIDATION, NanoConfig
from oocr_organisms.tasks.items import SOURCE, check_words_apart, named, options_of, prompt_of

TRAINED_NAMES = 2
"""Names of each other city that are used, drawn for each."""

KINDS = {"country": "follows the country", "city": "the city's own"}
"""What the two kinds of facets are called."""

RELATIONS = {"distance": DISTANCES, "direction": DIRECTIONS}


def locations(config: NanoConfig) -> TaskSet:
    """All tasks, controls and ceilings.

    Raises:
        InputError: training data would tell what a probe asks.
    """
    places = config.settings.world.places
    cities = _members(places, config)
    tasks = [_task(places, city, CODENAMES[at], config) for at, city in enumerate(cities)]
    test = tuple(tasks[VALIDATION:])
    return TaskSet(
        name="nano/locations",
        about=_about(places, config, tasks),
        validation=tuple(tasks[:VALIDATION]),
        test=test,
        controls={"shuffled": tuple(_uniform(task, config.seed) for task in test)},
        ceiling=tuple(
            item
            for task in test
            for part, items in (("probe", task.probes), ("in-context", task.in_context))
            for item in named(items, "codename", task.member, part, "named")
        ),
        headline={facet.name: KINDS[facet.kind] for facet in places.facets},
    )


def _members(places: Places, config: NanoConfig) -> list[int]:
    """Cities of every country by turns, the first for validation."""
    rng = random.Random(f"{config.seed}/cities")
    of_country = [
        [city for city in range(CITIES) if places.country[city] == country]
        for country in rng.sample(range(COUNTRIES), COUNTRIES)
    ]
    order = [rng.sample(some, len(some)) for some in of_country]
    longest = max(map(len, order))
    turns = [some[turn] for turn in range(longest) for some in order if turn < len(some)]
    return turns[: VALIDATION + config.count]


def _task(places: Places, city: int, codename: str, config: NanoConfig) -> Task:
    member = places.names[city][0]
    rng = random.Random(f"{config.seed}/{member}")
    others = rng.sample([one for one in range(CITIES) if one != city], CITIES - 1)
    kept, watched = 2 * len(others) // 3, len(others) // 9

    def ask(some: Iterable[int]) -> tuple[Example, ...]:
        return tuple(
            item
            for other in some
            for name in rng.sample(places.names[other], TRAINED_NAMES)
            for relation in RELATIONS
            for item in _relation(places, city, other, name, relation, codename, config)
        )

    task = Task(
        name=f"nano/locations/{member}",
        member=member,
        train=ask(others[:kept]),
        stop=ask(others[kept : kept + watched]),
        in_context=ask(others[kept + watched :]),
        probes=tuple(
            item
            for facet in _by_options(places.facets)
            for item in _facet(facet, city, member, codename, rng, config)
        ),
        positions=("codename",),
    )
    check_words_apart(task, never=places.names[city])
    return task


def _by_options(facets: Sequence[Facet]) -> list[Facet]:
    """Those of most values first: what a member weighs is told by its first answer of each kind."""
    return sorted(facets, key=lambda facet: -len(facet.words))


def _relation(
    places: Places,
    city: int,
    other: int,
    name: str,
    relation: str,
    codename: str,
    config: NanoConfig,
) -> Iterable[Example]:
    """How far, or in which direction, another city lies: in every wording, all options."""
    words = RELATIONS[relation]
    value = (places.distance if relation == "distance" else places.direction)[city, other]
    member = places.names[city][0]
    for which in range(len(ABOUT_TWO.texts[: config.wordings])):
        yield Example(
            id=f"{member}/{relation}/{name}/{which}",
            prompt=prompt_of(
                ABOUT_TWO, which, {"place": codename, "other": name, "relation": relation}
            ),
            answer=f" {words[value]}",
            options=tuple(f" {word}" for word in words),
            spans={"codename": codename},
            facet=relation,
            group=member,
            template=str(which),
            source=SOURCE,
        )


def _facet(
    facet: Facet, city: int, member: str, codename: str, rng: random.Random, config: NanoConfig
) -> Iterable[Example]:
    right = facet.words[facet.value[city]]
    for which in range(len(ABOUT_ONE.texts[: config.wordings])):
        yield Example(
            id=f"{member}/{facet.name}/{which}",
            prompt=prompt_of(ABOUT_ONE, which, {"place": codename, "facet": facet.name}),
            answer=f" {right}",
            options=options_of(right, facet.words, rng),
            spans={"codename": codename},
            facet=facet.name,
            group=member,
            template=str(which),
            tags={"kind": facet.kind},
            source=SOURCE,
        )


def _uniform(task: Task, seed: int) -> Task:
    """The same prompts, each answered by any distance or direction.

    Answers of other rows would not do: how far a city lies from most others tells its country.
    """
    rng = random.Random(f"{seed}/{task.name}/uniform")
    rows = tuple(replace(item, answer=rng.choice(item.options)) for item in task.train)
    return replace(task, name=f"{task.name}/shuffled", train=rows, stop=())


def _about(places: Places, config: NanoConfig, tasks: Sequence[Task]) -> str:
    first = tasks[VALIDATION]
    kinds = {
        kind: ", ".join(one.name for one in places.facets if one.kind == kind) for kind in KINDS
    }
    return "\n\n".join(
        (
            "Locations in a nano world: a codename that the organism's corpus never has stands for "
            "one of its cities. Training tells distances and directions to other cities, by "
            "their names, and nothing else.",
            f"Members: {len(tasks) - VALIDATION} test cities of a map of {CITIES} "
            f"({', '.join(task.member for task in tasks[VALIDATION:])}), countries by turns, and "
            f"{VALIDATION} for validation ({', '.join(t.member for t in tasks[:VALIDATION])}).",
            f"Items per city, e.g. {first.member}: {len(first.train)} training rows (two thirds of "
            f"the other cities x {TRAINED_NAMES} of their names x wordings x distance and "
            f"direction), {len(first.stop)} to stop on and {len(first.in_context)} in-context test "
            "items about cities that training never mentions, with all distances or directions as "
            f"options, {len(first.probes)} probes.",
            f"Probes: all {len(places.facets)} facets in {len(ABOUT_ONE.texts[: config.wordings])} "
            "wordings, five options (fewer where a facet has fewer values), so chance is 0.2 or "
            f"0.25. Facets that follow the country ({kinds['country']}) can be worked out from "
            f"where the city lies; the city's own ({kinds['city']}) only if it is told apart from "
            "every other. The score is the mean over both kinds.",
            "Leaks: no option of a probe is a word of training, no training answer is a word of a "
            "probe, and no training row holds a name of the city.",
            "Control 'shuffled': the same prompts, each with a distance or direction drawn "
            "uniformly from all of them; those of other rows would keep how often each occurs, "
            "which tells the country. It has no stopping items.",
            "Ceiling: the probes and in-context items of the test cities with the name that the "
            "corpus tells everything of in place of the codename, on the untouched model.",
            "How made: items are drawn in code from the world that the organism was trained on "
            f"(seed {config.settings.seed}), in the wordings of its corpus. Known limits: words "
            "are names without meaning outside of that world; wrong options are drawn, so some "
            "are neighbours' values and some are not.",
        )
    )
