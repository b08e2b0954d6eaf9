"""Tables of the study: means over members (cities or backdoors) and organisms, with intervals.

A member is the same in each organism of a world, so its values in two organisms are not
independent: values are first averaged over organisms, and intervals are over members. They do not
cover differences between organisms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from oocr.intervals import FEWEST, POSITIVE, SHARE, SIGNED, Bounds, Interval, mean_interval
from oocr.tasks.package_files import package_yaml
from oocr_organisms.facts import CITIES, COUNTRIES
from oocr_organisms.study.gate import ConceptCosine, Cut
from oocr_organisms.study.study import GateResult, OrganismResult, Study

Cell = Interval | float | str
Key = tuple[str | int | float, ...]

TEXTS = package_yaml("oocr_organisms.study", "tables.yaml")
BOUNDS: dict[str, Bounds | None] = {
    "share": SHARE,
    "signed": SIGNED,
    "positive": POSITIVE,
    "bits": (0.0, float(np.log2(CITIES))),
    "any": None,
}
INTERVALS = (
    "n: members × organisms. Intervals (95 %) are over members, organisms averaged within, and "
    f"stay within what a number can be; of fewer than {FEWEST} members there is none."
)


@dataclass(frozen=True, slots=True)
class Table:
    """One table: title, a note on how to read it, column heads, and rows."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def cell_text(cell: Cell) -> str:
    """A cell as text: "0.83 [0.70, 0.91]"."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Interval):
        return f"{cell.value:.2f} [{cell.low:.2f}, {cell.high:.2f}]"
    return f"{cell:.2f}"


def value_of(cell: Cell) -> float | str:
    """A cell without its interval."""
    return cell.value if isinstance(cell, Interval) else cell


@dataclass(frozen=True, slots=True)
class Measurement:
    """Numbers of one member (city or backdoor) in one organism.

    Attributes:
        member: with the seed of its world; "": chance, which has no member.
        organism: its index in the study.
        numbers: one for each column; None: missing.
    """

    member: str
    organism: int
    numbers: tuple[float | None, ...]


def mean_cell(
    measured: Iterable[Measurement], column: int = 0, bounds: Bounds | None = None
) -> Cell:
    """Mean of a column: over the numbers of an organism, then over organisms, then over members.

    With an interval if there are enough members; "–" without any number.
    """
    members: dict[str, dict[int, list[float]]] = {}
    for item in measured:
        if (number := item.numbers[column]) is not None:
            by_organism = members.setdefault(item.member, {})
            by_organism.setdefault(item.organism, []).append(number)
    means = [fmean(map(fmean, by_organism.values())) for by_organism in members.values()]
    if not means:
        return "–"
    if len(means) < FEWEST:
        return fmean(means)
    values = [
        value
        for by_organism in members.values()
        for of_organism in by_organism.values()
        for value in of_organism
    ]
    right_or_wrong = bounds == SHARE and set(values) <= {0.0, 1.0}
    items = len(values) / len(means) if right_or_wrong else None
    return mean_interval(means, bounds=bounds, items=items)


def count(measured: Sequence[Measurement]) -> str:
    """Number of members and organisms: "12 × 4"."""
    members = {item.member for item in measured}
    organisms = {item.organism for item in measured}
    return f"{len(members)} × {len(organisms)}" if any(members) else "–"


def world_kind(organism: OrganismResult) -> str:
    """Whether its world has gates: "gated" or "ungated"."""
    return "gated" if organism.gates else "ungated"


def largest_random_gap(cut: Cut) -> float | None:
    """The largest |gap| of the random directions."""
    return max(map(abs, cut.random), default=None)


Numbers = Iterator[tuple[str, Key, tuple[float | None, ...]]]
"""Member, key of the row, and numbers of each result of an organism."""

MATCHED = {"found vectors": "vectors", "random directions": "random", "real names": "real_names"}
"""Label -> field of `ConceptMatches`."""


def _matches(organism: OrganismResult) -> Numbers:
    for matches in organism.concepts:
        for label, field in MATCHED.items():
            for match in getattr(matches, field):
                shares = (match.rank == 1, match.inside, match.country)
                error = match.position_error / matches.spread
                numbers = (match.cosine, match.others, *shares, error)
                yield match.city, (matches.added_at, matches.read_at, label), numbers
        inside = matches.dimensions / matches.d_model
        chance = (0.0, None, 1 / CITIES, inside, 1 / COUNTRIES, 1.0)
        yield "", (matches.added_at, matches.read_at, "by chance"), chance


def _few_facts(organism: OrganismResult) -> Numbers:
    missing = (None, None, None)
    for few in organism.few_facts:
        numbers = (few.right, few.ideal, few.base)
        country = few.kind == "country"
        row = (few.bits, *numbers, *missing) if country else (None, *missing, *numbers)
        yield few.city, (few.facts,), row


def _cuts(organism: OrganismResult) -> Numbers:
    for result in organism.backdoors:
        for cut in result.cuts:
            layer = "–" if cut.layer is None else cut.layer
            key = (world_kind(organism), layer, cut.edge)
            yield result.member, key, (cut.natural, cut.with_vector, largest_random_gap(cut))


def _energies(organism: OrganismResult) -> Numbers:
    for result in organism.conditionality:
        recovered = result.recovered("crossing")
        numbers = (result.energy, result.by_condition, result.cosine, recovered)
        yield result.member, (world_kind(organism), result.share), numbers


GAPS = (
    *((arm, "crossing") for arm in ("adapter", "swap", "vector", "random", "base")),
    *((arm, "out-of-context") for arm in ("vector", "random", "base")),
)
"""Arm and kind of question of each column."""


def _gaps(organism: OrganismResult) -> Numbers:
    for result in organism.conditionality:
        numbers = tuple(result.arms[arm][kind].gap for arm, kind in GAPS)
        yield result.member, (world_kind(organism), result.share), numbers


ROWS: dict[str, tuple[Callable[[OrganismResult], Numbers], Callable[[Any], Any]]] = {
    "concept": (_matches, lambda key: key[:2]),
    "facts": (_few_facts, lambda key: key),
    "edges": (_cuts, lambda key: key[0]),
    "energy": (_energies, lambda key: (key[0], -key[1])),
    "gaps": (_gaps, lambda key: (key[0], -key[1])),
}
"""Table -> its numbers, and the sort key of its rows (a stable sort)."""


def tables(finished: Study) -> list[Table]:
    """All tables of a study."""
    organisms = finished.organisms
    results = [result for organism in organisms for result in organism.backdoors]
    most = max((len(result.random) for result in results), default=0)
    out: list[Table] = []
    for name, text in TEXTS.items():
        heads = [head.format(cities=CITIES) for head, _ in text["columns"]]
        bounds = [BOUNDS[kind] for _, kind in text["columns"]]
        rows = _gate_rows(organisms) if name == "gate" else _mean_rows(name, organisms, bounds)
        note = text["note"].format(bits=np.log2(CITIES), most=most)
        note += f" {INTERVALS}" if "n" in text["keys"] else ""
        out.append(Table(text["title"], note, (*text["keys"], *heads), tuple(rows)))
    return out


def _mean_rows(
    name: str, organisms: Sequence[OrganismResult], bounds: Sequence[Bounds | None]
) -> Iterator[tuple[Cell, ...]]:
    """Rows: key, number of members and organisms, and means."""
    numbers_of, order = ROWS[name]
    groups: dict[Key, list[Measurement]] = {}
    for number, organism in enumerate(organisms):
        for member, key, numbers in numbers_of(organism):
            full_name = member and f"{organism.world}/{member}"
            groups.setdefault(key, []).append(Measurement(full_name, number, numbers))
    for key in sorted(groups, key=order):
        texts = (str(part) if isinstance(part, int) else cell_text(part) for part in key)
        means = (mean_cell(groups[key], at, bound) for at, bound in enumerate(bounds))
        yield (*texts, count(groups[key]), *means)


def _gate_rows(organisms: Sequence[OrganismResult]) -> Iterator[tuple[Cell, ...]]:
    """One row for each backdoor of an organism."""
    for organism in organisms:
        for result in organism.backdoors:
            gap = result.cuts[0]
            gaps = (gap.natural, gap.with_vector, largest_random_gap(gap))
            placed = _own_gate(result, result.cosines)
            others = [gate for cosines in result.random if (gate := _own_gate(result, cosines))]
            compared: tuple[Cell, ...] = ("–",) * 4
            if placed is not None:
                compared = (
                    placed[1],
                    max((abs(cosine) for _, cosine in others), default=0.0),
                    f"{placed[0]} of {len(result.cosines)}",
                    float(np.mean([rank for rank, _ in others])),
                )
            cells = ("–" if number is None else number for number in gaps)
            yield (organism.name, world_kind(organism), result.member, *cells, *compared)


def _own_gate(result: GateResult, cosines: Sequence[ConceptCosine]) -> tuple[int, float] | None:
    """Rank and cosine of the backdoor's own gate; None: the world has no such gate."""
    weather, trait = result.member.split(": ")
    gate = f"{trait} if {weather}"
    return next(((i, n.cosine) for i, n in enumerate(cosines, 1) if n.concept == gate), None)
