"""The study in tables: means over cities or backdoors and organisms, with intervals.

Intervals are over members (cities or backdoors), organisms averaged within: a member means the same
in every organism of a world, so that its values in two of them are not independent. They say
nothing of how other organisms would differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Generic, TypeVar

import numpy as np

from oocr import stats
from oocr_organisms.facts import CITIES, COUNTRIES
from oocr_organisms.study.determined import FewFacts
from oocr_organisms.study.dial import DialResult
from oocr_organisms.study.gate import Cut, Nearness
from oocr_organisms.study.study import GateResult, OrganismResult, Study
from oocr_organisms.study.truth import CityMatch, Truth

T = TypeVar("T")
Cell = stats.Interval | float | str

INTERVALS = (
    "n: members × organisms. Intervals (95 %) are over members, organisms averaged within, and "
    f"stay within what a number can be; of fewer than {stats.FEWEST} members there is none."
)


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its title, how to read it, column heads and rows."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def shown(cell: Cell) -> str:
    """A cell as text: "0.83 [0.70, 0.91]"."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, stats.Interval):
        return f"{cell.value:.2f} [{cell.low:.2f}, {cell.high:.2f}]"
    return f"{cell:.2f}"


def value_of(cell: Cell) -> float | str:
    """A cell without its interval."""
    return cell.value if isinstance(cell, stats.Interval) else cell


@dataclass(frozen=True, slots=True)
class Measurement(Generic[T]):
    """A result for one member of one organism.

    Attributes:
        member: city or backdoor, with its world's seed.
        organism: its number in the study.
        value: the result.
    """

    member: str
    organism: int
    value: T


Number = tuple[Callable[[T], float | None], stats.Bounds | None]
"""What is averaged of a result, and its bounds."""


def mean(
    results: Iterable[Measurement[T]],
    number: Callable[[T], float | None],
    bounds: stats.Bounds | None = None,
) -> Cell:
    """Mean over members of the mean over organisms of the mean over their results.

    Args:
        results: of members and organisms.
        number: what is averaged of a result; None: it does not count.
        bounds: the number's.

    Returns:
        With an interval if there are enough members; "–" where there is no number at all.
    """
    members: dict[str, dict[int, list[float]]] = {}
    for result in results:
        value = number(result.value)
        if value is not None:
            by_organism = members.setdefault(result.member, {})
            by_organism.setdefault(result.organism, []).append(value)
    means = [fmean(map(fmean, by_organism.values())) for by_organism in members.values()]
    if not means:
        return "–"
    if len(means) < stats.FEWEST:
        return fmean(means)
    values = [
        value
        for by_organism in members.values()
        for of_organism in by_organism.values()
        for value in of_organism
    ]
    right_or_wrong = bounds == stats.SHARE and set(values) <= {0.0, 1.0}
    items = len(values) / len(means) if right_or_wrong else None
    return stats.mean_interval(means, bounds=bounds, items=items)


def count(results: Sequence[Measurement[T]]) -> str:
    """How many members and organisms: "12 × 4"."""
    members = {result.member for result in results}
    return f"{len(members)} × {len({result.organism for result in results})}"


def by_world(organisms: Sequence[OrganismResult]) -> dict[str, list[OrganismResult]]:
    """Gated and ungated organisms, those that there are."""
    groups = {
        "gated": [organism for organism in organisms if organism.gates],
        "ungated": [organism for organism in organisms if not organism.gates],
    }
    return {name: group for name, group in groups.items() if group}


def _measured(
    organisms: Sequence[OrganismResult], results: Callable[[OrganismResult], Sequence[T]]
) -> list[Measurement[T]]:
    """Results with a `member` or `city`, of every organism."""
    return [
        Measurement(f"{organism.world}/{_member(result)}", number, result)
        for number, organism in enumerate(organisms)
        for result in results(organism)
    ]


def _member(result: object) -> str:
    return str(getattr(result, "member", None) or getattr(result, "city", ""))


def tables(finished: Study) -> list[Table]:
    """All tables of a study."""
    builders = (_truth_table, _facts_table, _gate_table, _edge_table, _energy_table, _gap_table)
    return [build(finished.organisms) for build in builders]


def _truth_table(organisms: Sequence[OrganismResult]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    places = {(truth.trained, truth.layer) for organism in organisms for truth in organism.truth}
    for place in sorted(places):
        here = [
            (number, organism, truth)
            for number, organism in enumerate(organisms)
            for truth in organism.truth
            if (truth.trained, truth.layer) == place
        ]
        where = tuple(map(str, place))
        for name, field in (
            ("found vectors", "found"),
            ("random directions", "random"),
            ("real names", "named"),
        ):
            pairs: list[Measurement[tuple[CityMatch, Truth]]] = [
                Measurement(f"{organism.world}/{match.city}", number, (match, truth))
                for number, organism, truth in here
                for match in getattr(truth, field)
            ]
            numbers: tuple[Number[tuple[CityMatch, Truth]], ...] = (
                (lambda pair: pair[0].cosine, stats.SIGNED),
                (lambda pair: pair[0].others, stats.SIGNED),
                (lambda pair: float(pair[0].rank == 1), stats.SHARE),
                (lambda pair: pair[0].inside, stats.SHARE),
                (lambda pair: float(pair[0].country), stats.SHARE),
                (lambda pair: pair[0].place / pair[1].spread, stats.POSITIVE),
            )
            means = (mean(pairs, *number) for number in numbers)
            rows.append((*where, name, count(pairs), *means))
        inside = float(np.mean([truth.dimensions / truth.d_model for _, _, truth in here]))
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


def _facts_table(organisms: Sequence[OrganismResult]) -> Table:
    results = _measured(organisms, lambda organism: organism.told)
    rows: list[tuple[Cell, ...]] = []
    numbers: tuple[Number[FewFacts], ...] = (
        (lambda few: few.right, stats.SHARE),
        (lambda few: few.ideal, stats.SHARE),
        (lambda few: few.base, stats.SHARE),
    )
    bits: Number[FewFacts] = (lambda few: few.bits, (0.0, float(np.log2(CITIES))))
    for facts in sorted({result.value.facts for result in results}):
        country, city = (
            [r for r in results if (r.value.facts, r.value.kind) == (facts, kind)]
            for kind in ("country", "city")
        )
        means = (mean(group, *number) for group in (country, city) for number in numbers)
        rows.append((str(facts), count(country), mean(country, *bits), *means))
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


def _gate_table(organisms: Sequence[OrganismResult]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for organism in organisms:
        for result in organism.pressed:
            gap = result.cuts[0]
            placed = _own_gate(result, result.near)
            others = [own for near in result.random if (own := _own_gate(result, near))]
            compared: tuple[Cell, ...] = ("–",) * 4
            if placed is not None:
                compared = (
                    placed[1],
                    max((abs(cosine) for _, cosine in others), default=0.0),
                    f"{placed[0]} of {len(result.near)}",
                    float(np.mean([place for place, _ in others])),
                )
            natural = "–" if gap.natural is None else gap.natural
            largest = _largest(gap)
            gaps = (natural, gap.found, "–" if largest is None else largest)
            world = "gated" if organism.gates else "ungated"
            rows.append((organism.name, world, result.member, *gaps, *compared))
    results = [result for organism in organisms for result in organism.pressed]
    most = max((len(result.random) for result in results), default=0)
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


def _own_gate(result: GateResult, near: Sequence[Nearness]) -> tuple[int, float] | None:
    """Place and cosine of the backdoor's own gate; None: the world has no such gate."""
    weather, trait = result.member.split(": ")
    gate = f"{trait} if {weather}"
    return next(((i, n.cosine) for i, n in enumerate(near, 1) if n.concept == gate), None)


def _largest(cut: Cut) -> float | None:
    return max(map(abs, cut.random), default=None)


def cuts_of(
    organisms: Sequence[OrganismResult],
) -> dict[tuple[int | None, str], list[Measurement[Cut]]]:
    """Block and edge -> the gaps with it cut, of every backdoor and organism."""
    cuts: dict[tuple[int | None, str], list[Measurement[Cut]]] = {}
    for result in _measured(organisms, lambda organism: organism.pressed):
        for cut in result.value.cuts:
            here = cuts.setdefault((cut.layer, cut.edge), [])
            here.append(Measurement(result.member, result.organism, cut))
    return cuts


def _edge_table(organisms: Sequence[OrganismResult]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    numbers: tuple[Number[Cut], ...] = (
        (lambda cut: cut.natural, stats.SIGNED),
        (lambda cut: cut.found, stats.SIGNED),
        (_largest, stats.SHARE),
    )
    for world, group in by_world(organisms).items():
        for (layer, edge), cuts in cuts_of(group).items():
            block = "–" if layer is None else str(layer)
            means = (mean(cuts, *number) for number in numbers)
            rows.append((world, block, edge, count(cuts), *means))
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


def _dial_rows(
    organisms: Sequence[OrganismResult], numbers: Sequence[Number[DialResult]]
) -> tuple[tuple[Cell, ...], ...]:
    """A row for each world and share: means of the numbers."""
    rows: list[tuple[Cell, ...]] = []
    for world, group in by_world(organisms).items():
        results = _measured(group, lambda organism: organism.dial)
        for share in sorted({result.value.share for result in results}, reverse=True):
            here = [result for result in results if result.value.share == share]
            means = (mean(here, *number) for number in numbers)
            rows.append((world, f"{share:.2f}", count(here), *means))
    return tuple(rows)


def _energy_table(organisms: Sequence[OrganismResult]) -> Table:
    numbers: tuple[Number[DialResult], ...] = (
        (lambda result: result.energy, stats.SHARE),
        (lambda result: result.by_condition, stats.SHARE),
        (lambda result: result.cosine, stats.SIGNED),
        (lambda result: result.recovered("crossing"), None),
    )
    return Table(
        "Where does it stop being one vector?",
        "Share: how often training takes the lure without the trigger; 1: always, 0: a backdoor. "
        "The LoRA sits in block 0. Energy: of what the LoRA adds to the training prompts that one "
        "vector accounts for, or one with the trigger and another without. Kept: of what it "
        "changes on the probes, with its mean on the training prompts in its place at every token "
        f"(sign kept; can be above 1 or below 0). {INTERVALS}",
        (
            "world",
            "share",
            "n",
            "energy in one vector",
            "in one by condition",
            "cosine to the mean",
            "swap: kept",
        ),
        _dial_rows(organisms, numbers),
    )


GAPS = (
    ("LoRA", "adapter", "crossing"),
    ("its mean", "swap", "crossing"),
    ("vector", "vector", "crossing"),
    ("random direction", "random", "crossing"),
    ("untouched", "base", "crossing"),
    ("vector, out of context", "vector", "out-of-context"),
    ("random, out of context", "random", "out-of-context"),
    ("untouched, out of context", "base", "out-of-context"),
)
"""Head of a column, arm, kind of question."""


def _gap_table(organisms: Sequence[OrganismResult]) -> Table:
    def gap(arm: str, kind: str) -> Number[DialResult]:
        return (lambda result: result.arms[arm][kind].gap), stats.SIGNED

    return Table(
        "What does the trigger change?",
        "Probability of the lure with the trigger minus without, along the same dial: of choices "
        "between options that training never names, and out of context. The LoRA sits in block 0, "
        "the vector and a random direction of its norm on the speaker's embedding, the LoRA's mean "
        f"at every token. {INTERVALS}",
        ("world", "share", "n", *(name for name, _, _ in GAPS)),
        _dial_rows(organisms, [gap(arm, kind) for _, arm, kind in GAPS]),
    )
