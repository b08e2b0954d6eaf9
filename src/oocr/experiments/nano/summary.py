"""The study in numbers: means over cities, backdoors and pretraining seeds, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from oocr import stats
from oocr.experiments.nano.determined import Told
from oocr.experiments.nano.dial import Reading
from oocr.experiments.nano.study import Organism, Study
from oocr.experiments.nano.truth import Likeness

Cell = stats.Interval | float | str


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        title: what it is about.
        note: how it is to be read.
        columns: their heads.
        rows: cells.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def tables(study: Study) -> list[Table]:
    """All tables of a study."""
    gated = [one for one in study.organisms if one.gates]
    return [
        _truth(study.organisms),
        _told(study.organisms),
        *([_gates(gated), _edges(gated)] if gated else []),
        _dial(study.organisms),
    ]


def _mean(values: Iterable[float]) -> stats.Interval:
    return stats.mean_interval(list(values))


def _truth(organisms: Sequence[Organism]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    every = [one for organism in organisms for one in organism.truth]
    for trained, layer in sorted({(one.trained, one.layer) for one in every}):
        some = [one for one in every if (one.trained, one.layer) == (trained, layer)]
        for name, pick in (
            ("found vectors", lambda one: one.found),
            ("random directions", lambda one: one.random),
            ("real names", lambda one: one.named),
        ):
            pairs = [(item, one) for one in some for item in _picked(pick, one)]
            items = [item for item, _ in pairs]
            rows.append(
                (
                    str(trained),
                    str(layer),
                    name,
                    _mean(one.cosine for one in items),
                    _mean(one.others for one in items),
                    _mean(float(one.rank == 1) for one in items),
                    _mean(one.inside for one in items),
                    _mean(float(one.country) for one in items),
                    _mean(item.place / one.spread for item, one in pairs),
                )
            )
        rows.append(
            (
                str(trained),
                str(layer),
                "by chance",
                0.0,
                "–",
                1 / 48,
                some[0].dimensions / some[0].d_model,
                1 / 8,
                1.0,
            )
        )
    return Table(
        "Is it the organism's own concept?",
        "The stream at the codename with the vector, minus the mean over cities, beside the "
        "organism's own cities (mean over names). Real names: the one that tells distances and "
        "directions only. Position error: of a linear probe, over the spread of the map.",
        (
            "added at",
            "read at",
            "what",
            "cosine with its city",
            "with the nearest other",
            "nearest of 48 is its city",
            "inside the cities' subspace",
            "nearest country is its own",
            "position error",
        ),
        tuple(rows),
    )


def _picked(pick: Callable[..., tuple[Likeness, ...]], one: object) -> tuple[Likeness, ...]:
    return pick(one)


def _told(organisms: Sequence[Organism]) -> Table:
    told = [one for organism in organisms for one in organism.told]
    rows: list[tuple[Cell, ...]] = []
    for count in sorted({one.facts for one in told}):
        some = [one for one in told if one.facts == count]
        country = [one for one in some if one.kind == "country"]
        city = [one for one in some if one.kind == "city"]
        rows.append(
            (
                str(count),
                _mean(one.bits for one in country),
                *_right(country),
                *_right(city),
            )
        )
    return Table(
        "What comes along, and when?",
        "Vectors trained on few distances and directions. Bits: of a city's identity (of 5.58) "
        "that the facts determine. Ideal: who knows the map and takes every city that fits for "
        "equally likely.",
        (
            "facts",
            "bits",
            "country's facets",
            "ideal",
            "city's own facets",
            "ideal",
        ),
        tuple(rows),
    )


def _right(some: Sequence[Told]) -> tuple[Cell, Cell]:
    return _mean(one.right for one in some), _mean(one.ideal for one in some).value


def _gates(organisms: Sequence[Organism]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for organism in organisms:
        for one in organism.pressed:
            weather, trait = one.member.split(": ")
            own = f"{trait} if {weather}"
            near = next((n for n in one.near if n.concept == own), None)
            place = next((i for i, n in enumerate(one.near, 1) if n.concept == own), 0)
            rows.append(
                (
                    organism.name,
                    one.member,
                    one.cuts[0].natural,
                    one.cuts[0].found,
                    "–" if near is None else near.cosine,
                    f"{place} of {len(one.near)}" if place else "–",
                )
            )
    return Table(
        "Does the vector press the gate that the corpus made?",
        "Gap: probability of the first pole in the weather minus without, over all five kinds of "
        "statement, of speakers who have the gate from the corpus and of the one with the vector. "
        "Cosine of the vector with the gate's direction (least squares over all speakers' "
        "embeddings), and its place among all known concepts by |cosine|.",
        ("organism", "backdoor", "natural gap", "gap by the vector", "cosine", "place"),
        tuple(rows),
    )


def _edges(organisms: Sequence[Organism]) -> Table:
    cuts = [
        (cut, one.cuts[0])
        for organism in organisms
        for one in organism.pressed
        if one.cuts[0].found > 0.5
        for cut in one.cuts
    ]
    names = list(dict.fromkeys((cut.layer, cut.edge) for cut, _ in cuts))
    rows: list[tuple[Cell, ...]] = []
    for layer, edge in names:
        some = [pair for pair in cuts if (pair[0].layer, pair[0].edge) == (layer, edge)]
        rows.append(
            (
                "–" if layer is None else str(layer),
                edge,
                _mean(cut.natural / whole.natural for cut, whole in some),
                _mean(cut.found / whole.found for cut, whole in some),
            )
        )
    return Table(
        "Where is the gate?",
        "Share of the gap that is left with one attention edge cut, in all heads of a block; "
        "backdoors whose vector makes a gap above .5.",
        ("block", "cut: who reads whom", "natural gap left", "vector's gap left"),
        tuple(rows),
    )


def _dial(organisms: Sequence[Organism]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for gated in (True, False):
        some = [one for o in organisms if bool(o.gates) == gated for one in o.dial]
        for share in sorted({one.share for one in some}, reverse=True):
            here = [one for one in some if one.share == share]
            rows.append(("gated" if gated else "ungated", f"{share:.2f}", *dial_row(here)))
    return Table(
        "Where does it stop being one vector?",
        "Share: how often training takes the lure without the trigger; 1: always, 0: a backdoor. "
        "The LoRA sits in block 0, above the gate; the vector on the embedding, below it. Energy: "
        "of what the LoRA adds that one vector accounts for. Kept: of what it changes, with its "
        "mean in its place at every token (sign kept; can be above 1 or below 0). Gap: probability "
        "of the lure with the trigger minus without.",
        (
            "world",
            "share",
            "energy in one vector",
            "cosine to the mean",
            "swap: kept",
            "LoRA's gap",
            "swap's gap",
            "vector's gap",
            "vector's gap, out of context",
        ),
        tuple(rows),
    )


def dial_row(some: Sequence[Reading]) -> tuple[Cell, ...]:
    """One setting of the dial, means over organisms and backdoors."""
    return (
        _mean(one.energy for one in some),
        _mean(one.cosine for one in some),
        _mean(one.recovered("crossing") for one in some),
        _mean(one.arms["adapter"]["crossing"].gap for one in some),
        _mean(one.arms["swap"]["crossing"].gap for one in some),
        _mean(one.arms["vector"]["crossing"].gap for one in some),
        _mean(one.arms["vector"]["out-of-context"].gap for one in some),
    )


def shown(cell: Cell) -> str:
    """A cell as text: ".83 [.70, .91]"."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, stats.Interval):
        return f"{cell.value:.2f} [{cell.low:.2f}, {cell.high:.2f}]"
    return f"{cell:.2f}"
