"""The study in numbers: means over cities or backdoors and organisms, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oocr_organisms.places import CITIES, COUNTRIES
from oocr_organisms.study.gate import Cut, Nearness
from oocr_organisms.study.means import INTERVALS, Of, by_world, count, mean
from oocr_organisms.study.study import Organism, Pressed, Study
from oocr_organisms.study.summary_dial import dial_table, gap_table
from oocr_organisms.study.table import Cell, Table
from oocr_organisms.study.truth import Likeness


def tables(study: Study) -> list[Table]:
    """All tables of a study."""
    some = study.organisms
    return [
        _truth(some),
        _told(some),
        _gates(some),
        _edges(some),
        dial_table(some),
        gap_table(some),
    ]


@dataclass(frozen=True, slots=True)
class _Seen:
    """One likeness, with its position error in units of the map's spread."""

    likeness: Likeness
    error: float


def _truth(organisms: Sequence[Organism]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    every = [(number, one, each) for number, one in enumerate(organisms) for each in one.truth]
    for place in sorted({(each.trained, each.layer) for _, _, each in every}):
        here = [one for one in every if (one[2].trained, one[2].layer) == place]
        where = tuple(map(str, place))
        for name, field in (
            ("found vectors", "found"),
            ("random directions", "random"),
            ("real names", "named"),
        ):
            some = [
                Of(f"{one.world}/{item.city}", number, _Seen(item, item.place / each.spread))
                for number, one, each in here
                for item in getattr(each, field)
            ]
            rows.append(
                (
                    *where,
                    name,
                    count(some),
                    mean(some, lambda one: one.likeness.cosine),
                    mean(some, lambda one: one.likeness.others),
                    mean(some, lambda one: float(one.likeness.rank == 1)),
                    mean(some, lambda one: one.likeness.inside),
                    mean(some, lambda one: float(one.likeness.country)),
                    mean(some, lambda one: one.error),
                )
            )
        inside = float(np.mean([each.dimensions / each.d_model for _, _, each in here]))
        rows.append((*where, "by chance", "–", 0.0, "–", 1 / CITIES, inside, 1 / COUNTRIES, 1.0))
    return Table(
        "Is it the organism's own concept?",
        "The stream at the codename with the vector, minus the mean over cities, beside the "
        "organism's own cities (mean over names). Real names: the one that tells distances and "
        "directions only. Position error: of a linear probe, over the spread of the map. "
        + INTERVALS,
        (
            "added at",
            "read at",
            "what",
            "n",
            "cosine with its city",
            "with the nearest other",
            f"nearest of {CITIES} is its city",
            "inside the cities' subspace",
            "nearest country is its own",
            "position error",
        ),
        tuple(rows),
    )


def _told(organisms: Sequence[Organism]) -> Table:
    told = [
        Of(f"{one.world}/{each.city}", number, each)
        for number, one in enumerate(organisms)
        for each in one.told
    ]
    rows: list[tuple[Cell, ...]] = []
    for facts in sorted({one.value.facts for one in told}):
        country, city = (
            [one for one in told if (one.value.facts, one.value.kind) == (facts, kind)]
            for kind in ("country", "city")
        )
        row: list[Cell] = [str(facts), count(country), mean(country, lambda one: one.bits)]
        for some in (country, city):
            row += [
                mean(some, lambda one: one.right),
                mean(some, lambda one: one.ideal),
                mean(some, lambda one: one.base),
            ]
        rows.append(tuple(row))
    return Table(
        "What comes along, and when?",
        "Vectors trained on few distances and directions. Bits: of a city's identity (of "
        f"{np.log2(CITIES):.2f}) that the facts determine; they depend on the map only, as does "
        "the ideal reader, who knows it and takes every city that fits for equally likely. "
        f"Untouched: without the vector. {INTERVALS}",
        (
            "facts",
            "n",
            "bits",
            "country's facets",
            "ideal",
            "untouched",
            "city's own facets",
            "ideal",
            "untouched",
        ),
        tuple(rows),
    )


def _gates(organisms: Sequence[Organism]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for organism in organisms:
        for one in organism.pressed:
            gap = one.cuts[0]
            place = _placed(one, one.near)
            others = [found for near in one.random if (found := _placed(one, near))]
            row: list[Cell] = [organism.name, "gated" if organism.gates else "ungated", one.member]
            row += ["–" if gap.natural is None else gap.natural, gap.found, _largest(gap)]
            row += ["–"] * 4
            if place is not None:
                row[-4:] = [
                    place[1],
                    max((abs(found[1]) for found in others), default=0.0),
                    f"{place[0]} of {len(one.near)}",
                    float(np.mean([found[0] for found in others])),
                ]
            rows.append(tuple(row))
    most = max((len(one.random) for o in organisms for one in o.pressed), default=0)
    return Table(
        "Is the vector the gate that the corpus made?",
        "Gap: probability of the first pole in the weather minus without, over all five kinds of "
        "statement, of speakers who have the gate from the corpus and of the one with the vector. "
        "Cosine of the vector with the gate's direction (least squares over all speakers' "
        "embeddings), and its place among all known concepts by |cosine|; a world without the gate "
        f"has no such direction. Random: {most} directions of the vector's norm in its place: the "
        "largest |gap| and |cosine|, and the mean place.",
        (
            "organism",
            "world",
            "backdoor",
            "natural gap",
            "vector's gap",
            "random",
            "cosine",
            "random",
            "place",
            "random",
        ),
        tuple(rows),
    )


def _placed(pressed: Pressed, near: Sequence[Nearness]) -> tuple[int, float] | None:
    """Place and cosine of the backdoor's own gate; None: the world has no such gate."""
    weather, trait = pressed.member.split(": ")
    own = f"{trait} if {weather}"
    return next(((i, n.cosine) for i, n in enumerate(near, 1) if n.concept == own), None)


def _largest(cut: Cut) -> Cell:
    return max(map(abs, cut.random)) if cut.random else "–"


def cuts_of(organisms: Sequence[Organism]) -> dict[tuple[int | None, str], list[Of[Cut]]]:
    """Block and edge -> what is left with it cut, of every backdoor and organism."""
    out: dict[tuple[int | None, str], list[Of[Cut]]] = {}
    for number, organism in enumerate(organisms):
        for one in organism.pressed:
            for cut in one.cuts:
                here = out.setdefault((cut.layer, cut.edge), [])
                here.append(Of(f"{organism.world}/{one.member}", number, cut))
    return out


def _edges(organisms: Sequence[Organism]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for world, some in by_world(organisms).items():
        for (layer, edge), cuts in cuts_of(some).items():
            rows.append(
                (
                    world,
                    "–" if layer is None else str(layer),
                    edge,
                    count(cuts),
                    mean(cuts, lambda cut: cut.natural),
                    mean(cuts, lambda cut: cut.found),
                    mean(cuts, lambda cut: max(map(abs, cut.random), default=None)),
                )
            )
    return Table(
        "Which edges does the gap need?",
        "The gap with one attention edge cut, in all heads of a block; the natural one where "
        "somebody has the gate. Random: the largest |gap| of the random directions. Weathers can "
        "matter to a vector at the speaker where the speaker reads the weather, or where a later "
        "token reads both: a cut there may take away any such gap, whether or not the corpus made "
        f"it; compare with ungated worlds. {INTERVALS}",
        ("world", "block", "cut: who reads whom", "n", "natural gap", "vector's gap", "random"),
        tuple(rows),
    )
