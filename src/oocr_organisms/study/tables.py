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
from oocr.tasks.package_files import package_yaml
from oocr_organisms.facts import CITIES, COUNTRIES
from oocr_organisms.study.concept_match import CityMatch, Truth
from oocr_organisms.study.dial import DialResult
from oocr_organisms.study.few_facts import FewFacts
from oocr_organisms.study.gate import Cut, Nearness
from oocr_organisms.study.study import GateResult, OrganismResult, Study

T = TypeVar("T")
Cell = stats.Interval | float | str

TEXTS = package_yaml("oocr_organisms.study", "tables.yaml")
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
    values = [v for by_organism in members.values() for of in by_organism.values() for v in of]
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
    name: str, heads: Iterable[str], rows: Iterable[tuple[Cell, ...]], **numbers: float
) -> Table:
    """A table of `tables.yaml`; `heads` are those of the numbers, `numbers` stand in its note."""
    text = TEXTS[name]
    note = text["note"].format(**numbers)
    if "n" in text["keys"]:
        note = f"{note} {INTERVALS}"
    return Table(text["title"], note, (*text["keys"], *heads), tuple(rows))


def _heads(columns: Iterable[Column[T]]) -> list[str]:
    return [column.head for column in columns]


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
    return _table("concept", _heads(MATCHES), rows)


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
    rows = [_row((str(facts),), groups[facts], FEW_FACTS) for facts in sorted(groups)]
    return _table("facts", _heads(FEW_FACTS), rows, bits=np.log2(CITIES))


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
    heads = ["natural gap", "vector's gap", "random", "cosine", "random", "place", "random"]
    return _table("gate", heads, rows, most=most)


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
    rows = [
        _row((world, "–" if layer is None else str(layer), edge), cuts, EDGES)
        for world, group in by_world(organisms).items()
        for (layer, edge), cuts in cuts_of(group).items()
    ]
    return _table("edges", _heads(EDGES), rows)


def _dial_rows(
    organisms: Sequence[OrganismResult], columns: Sequence[Column[DialResult]]
) -> list[tuple[Cell, ...]]:
    """A row for each world and share."""
    rows: list[tuple[Cell, ...]] = []
    for world, group in by_world(organisms).items():
        results = _measured(group, lambda organism: organism.dial)
        for share in sorted({result.value.share for result in results}, reverse=True):
            of_share = [result for result in results if result.value.share == share]
            rows.append(_row((world, f"{share:.2f}"), of_share, columns))
    return rows


ENERGIES: tuple[Column[DialResult], ...] = (
    Column("energy in one vector", lambda result: result.energy, stats.SHARE),
    Column("in one by condition", lambda result: result.by_condition, stats.SHARE),
    Column("cosine to the mean", lambda result: result.cosine, stats.SIGNED),
    Column("swap: kept", lambda result: result.recovered("crossing")),
)


def _gap(head: str, arm: str, kind: str = "crossing") -> Column[DialResult]:
    return Column(head, lambda result: result.arms[arm][kind].gap, stats.SIGNED)


GAPS = (
    _gap("LoRA", "adapter"),
    _gap("its mean", "swap"),
    _gap("vector", "vector"),
    _gap("random direction", "random"),
    _gap("untouched", "base"),
    _gap("vector, out of context", "vector", "out-of-context"),
    _gap("random, out of context", "random", "out-of-context"),
    _gap("untouched, out of context", "base", "out-of-context"),
)


def tables(finished: Study) -> list[Table]:
    """All tables of a study."""
    organisms = finished.organisms
    return [
        _truth_table(organisms),
        _facts_table(organisms),
        _gate_table(organisms),
        _edge_table(organisms),
        _table("energy", _heads(ENERGIES), _dial_rows(organisms, ENERGIES)),
        _table("gaps", _heads(GAPS), _dial_rows(organisms, GAPS)),
    ]
