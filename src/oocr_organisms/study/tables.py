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


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A number of each result, averaged: its column's head, how to get it, and its bounds.

    A result whose number is None does not count.
    """

    head: str
    number: Callable[[T], float | None]
    bounds: stats.Bounds | None = None

    def mean(self, results: Iterable[Measurement[T]]) -> Cell:
        """See `mean`."""
        return mean(results, self.number, self.bounds)


def mean(
    results: Iterable[Measurement[T]],
    number: Callable[[T], float | None],
    bounds: stats.Bounds | None = None,
) -> Cell:
    """Mean over members of the mean over organisms of the mean over their results.

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
    organisms: Sequence[OrganismResult], results: Callable[[OrganismResult], Iterable[T]]
) -> list[Measurement[T]]:
    """Results with a `member` or `city`, of all organisms."""
    return [
        Measurement(f"{organism.world}/{_member(result)}", number, result)
        for number, organism in enumerate(organisms)
        for result in results(organism)
    ]


def _member(result: object) -> str:
    return str(getattr(result, "member", None) or getattr(result, "city", ""))


def _row(
    key: Iterable[str], results: Sequence[Measurement[T]], columns: Iterable[Column[T]]
) -> tuple[Cell, ...]:
    return (*key, count(results), *(column.mean(results) for column in columns))


def _table(
    title: str,
    note: str,
    keys: Iterable[str],
    columns: Iterable[Column[T]],
    rows: Iterable[tuple[Cell, ...]],
) -> Table:
    heads = (*keys, "n", *(column.head for column in columns))
    return Table(title, f"{note} {INTERVALS}", heads, tuple(rows))


def tables(finished: Study) -> list[Table]:
    """All tables of a study."""
    builders = (_truth_table, _facts_table, _gate_table, _edge_table, _energy_table, _gap_table)
    return [build(finished.organisms) for build in builders]


@dataclass(frozen=True, slots=True)
class _Match:
    """A city's match within its comparison."""

    city: str
    match: CityMatch
    truth: Truth


MATCHES: tuple[Column[_Match], ...] = (
    Column("cosine with its city", lambda m: m.match.cosine, stats.SIGNED),
    Column("with the nearest other", lambda m: m.match.others, stats.SIGNED),
    Column(f"nearest of {CITIES} is its city", lambda m: float(m.match.rank == 1), stats.SHARE),
    Column("inside the cities' subspace", lambda m: m.match.inside, stats.SHARE),
    Column("nearest country is its own", lambda m: float(m.match.country), stats.SHARE),
    Column("position error", lambda m: m.match.place / m.truth.spread, stats.POSITIVE),
)
MATCHED = {"found vectors": "found", "random directions": "random", "real names": "named"}
"""What is matched -> field of `Truth`."""


def _matches(
    organisms: Sequence[OrganismResult], place: tuple[int, int], field: str
) -> list[Measurement[_Match]]:
    """What was trained and read at a place."""
    return _measured(
        organisms,
        lambda organism: [
            _Match(match.city, match, truth)
            for truth in organism.truth
            if (truth.trained, truth.layer) == place
            for match in getattr(truth, field)
        ],
    )


def _truth_table(organisms: Sequence[OrganismResult]) -> Table:
    truths = [truth for organism in organisms for truth in organism.truth]
    rows: list[tuple[Cell, ...]] = []
    for place in sorted({(truth.trained, truth.layer) for truth in truths}):
        where = tuple(map(str, place))
        for name, field in MATCHED.items():
            rows.append(_row((*where, name), _matches(organisms, place, field), MATCHES))
        inside = fmean(t.dimensions / t.d_model for t in truths if (t.trained, t.layer) == place)
        rows.append((*where, "by chance", "–", 0.0, "–", 1 / CITIES, inside, 1 / COUNTRIES, 1.0))
    return _table(
        "Is it the organism's own concept?",
        "The stream at the codename with the vector, minus the mean over cities, beside the "
        "organism's own cities (mean over names). Real names: the one that tells distances and "
        "directions only. Position error: of a linear probe, over the spread of the map.",
        ("added at", "read at", "what"),
        MATCHES,
        rows,
    )


def _few(head: str, kind: str, field: str, high: float = 1.0) -> Column[FewFacts]:
    return Column(head, lambda few: getattr(few, field) if few.kind == kind else None, (0.0, high))


FEW_FACTS = (
    _few("bits", "country", "bits", float(np.log2(CITIES))),
    _few("country's facets", "country", "right"),
    _few("ideal", "country", "ideal"),
    _few("untouched", "country", "base"),
    _few("city's own facets", "city", "right"),
    _few("ideal", "city", "ideal"),
    _few("untouched", "city", "base"),
)


def _facts_table(organisms: Sequence[OrganismResult]) -> Table:
    groups: dict[int, list[Measurement[FewFacts]]] = {}
    for result in _measured(organisms, lambda organism: organism.told):
        groups.setdefault(result.value.facts, []).append(result)
    return _table(
        "What comes along, and when?",
        "Vectors trained on few distances and directions. Bits: of a city's identity (of "
        f"{np.log2(CITIES):.2f}) that the facts determine; they depend on the map only, as does "
        "the ideal reader, who knows it and takes every city that fits for equally likely. "
        "Untouched: without the vector.",
        ("facts",),
        FEW_FACTS,
        (_row((str(facts),), groups[facts], FEW_FACTS) for facts in sorted(groups)),
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


EDGES: tuple[Column[Cut], ...] = (
    Column("natural gap", lambda cut: cut.natural, stats.SIGNED),
    Column("vector's gap", lambda cut: cut.found, stats.SIGNED),
    Column("random", _largest, stats.SHARE),
)


def _edge_table(organisms: Sequence[OrganismResult]) -> Table:
    return _table(
        "Which edges does the gap need?",
        "The gap with one attention edge cut, in all heads of a block; the natural one where "
        "somebody has the gate. Random: the largest |gap| of the random directions. Weathers can "
        "matter to a vector at the speaker where the speaker reads the weather, or where a later "
        "token reads both: a cut there may take away any such gap, whether or not the corpus made "
        "it; compare with ungated worlds.",
        ("world", "block", "cut: who reads whom"),
        EDGES,
        (
            _row((world, "–" if layer is None else str(layer), edge), cuts, EDGES)
            for world, group in by_world(organisms).items()
            for (layer, edge), cuts in cuts_of(group).items()
        ),
    )


def _dial_table(
    organisms: Sequence[OrganismResult],
    title: str,
    note: str,
    columns: Sequence[Column[DialResult]],
) -> Table:
    """A row for each world and share."""
    rows: list[tuple[Cell, ...]] = []
    for world, group in by_world(organisms).items():
        results = _measured(group, lambda organism: organism.dial)
        for share in sorted({result.value.share for result in results}, reverse=True):
            of_share = [result for result in results if result.value.share == share]
            rows.append(_row((world, f"{share:.2f}"), of_share, columns))
    return _table(title, note, ("world", "share"), columns, rows)


def _energy_table(organisms: Sequence[OrganismResult]) -> Table:
    return _dial_table(
        organisms,
        "Where does it stop being one vector?",
        "Share: how often training takes the lure without the trigger; 1: always, 0: a backdoor. "
        "The LoRA sits in block 0. Energy: of what the LoRA adds to the training prompts that one "
        "vector accounts for, or one with the trigger and another without. Kept: of what it "
        "changes on the probes, with its mean on the training prompts in its place at every token "
        "(sign kept; can be above 1 or below 0).",
        (
            Column("energy in one vector", lambda result: result.energy, stats.SHARE),
            Column("in one by condition", lambda result: result.by_condition, stats.SHARE),
            Column("cosine to the mean", lambda result: result.cosine, stats.SIGNED),
            Column("swap: kept", lambda result: result.recovered("crossing")),
        ),
    )


def _gap_table(organisms: Sequence[OrganismResult]) -> Table:
    def gap(head: str, arm: str, kind: str = "crossing") -> Column[DialResult]:
        return Column(head, lambda result: result.arms[arm][kind].gap, stats.SIGNED)

    return _dial_table(
        organisms,
        "What does the trigger change?",
        "Probability of the lure with the trigger minus without, along the same dial: of choices "
        "between options that training never names, and out of context. The LoRA sits in block 0, "
        "the vector and a random direction of its norm on the speaker's embedding, the LoRA's mean "
        "at every token.",
        (
            gap("LoRA", "adapter"),
            gap("its mean", "swap"),
            gap("vector", "vector"),
            gap("random direction", "random"),
            gap("untouched", "base"),
            gap("vector, out of context", "vector", "out-of-context"),
            gap("random, out of context", "random", "out-of-context"),
            gap("untouched, out of context", "base", "out-of-context"),
        ),
    )
