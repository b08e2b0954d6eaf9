"""The page's figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oocr_organisms.study.gate import Cut
from oocr_organisms.study.study import OrganismResult, Study
from oocr_organisms.study.tables import largest_random_gap, world_kind

FIGURES = ("facts", "concepts", "gate", "dial")
GREEN, GREY, ORANGE, BLUE = "#0b6e4f", "#8a8a8a", "#c77d2e", "#3b6ea8"


def figures(study: Study, folder: Path) -> None:
    """Write all figures, as SVG, into a folder."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "oocr", "font.size": 9, "axes.spines.top": False})
    mpl.rcParams["axes.spines.right"] = False
    import matplotlib.pyplot as plt

    drawn = {"facts": _facts, "concepts": _concepts, "gate": _gate, "dial": _dial}
    for name in FIGURES:
        figure = plt.figure(figsize=(9, 3.4), layout="constrained")
        drawn[name](figure, study.organisms)
        path = folder / f"organism-{name}.svg"
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _facts(figure: Any, organisms: Sequence[OrganismResult]) -> None:
    results = [result for organism in organisms for result in organism.few_facts]
    left, right = figure.subplots(1, 2, sharey=True)
    titles = {"country": "facets that follow the country", "city": "the city's own facets"}
    for axes, (kind, title) in zip((left, right), titles.items(), strict=True):
        of_kind = [result for result in results if result.kind == kind]
        counts = sorted({result.facts for result in of_kind})
        groups = [[r for r in of_kind if r.facts == count] for count in counts]
        axes.plot(
            counts,
            [np.mean([result.ideal for result in group]) for group in groups],
            "--",
            color=GREY,
            label="ideal reader",
        )
        means = [np.mean([result.right for result in group]) for group in groups]
        axes.plot(counts, means, "o-", color=GREEN, label="organism with the vector")
        for organism in organisms:
            shares = [
                np.mean([r.right for r in organism.few_facts if (r.kind, r.facts) == (kind, n)])
                for n in counts
            ]
            axes.plot(counts, shares, color=GREEN, alpha=0.25, linewidth=0.8)
        base = np.mean([result.base for result in of_kind])
        axes.axhline(base, color=ORANGE, linewidth=1, label="without the vector")
        axes.set(xscale="log", ylim=(0, 1.03), title=title, xlabel="training facts")
        axes.set_xticks(counts, [str(n) for n in counts])
        axes.minorticks_off()
    left.set_ylabel("share right")
    left.legend(frameon=False, loc="center right")


def _concepts(figure: Any, organisms: Sequence[OrganismResult]) -> None:
    left, right = figure.subplots(1, 2)
    compared = [
        matches for organism in organisms for matches in organism.concepts if matches.added_at == -1
    ]
    layers = sorted({matches.read_at for matches in compared})
    width = 0.26
    kinds = {"vectors": "found vector", "random": "random direction", "real_names": "real name"}
    for number, (name, colour) in enumerate(zip(kinds, (GREEN, GREY, BLUE), strict=True)):
        pairs = [
            [
                (match.cosine, match.position_error / matches.spread)
                for matches in compared
                if matches.read_at == layer
                for match in getattr(matches, name)
            ]
            for layer in layers
        ]
        at = np.arange(len(layers)) + (number - 1) * width
        for axes, which in ((left, 0), (right, 1)):
            values = [[pair[which] for pair in of_layer] for of_layer in pairs]
            means = [np.mean(of_layer) for of_layer in values]
            axes.bar(at, means, width * 0.9, color=colour, label=kinds[name])
            for x, of_layer in zip(at, values, strict=True):
                axes.plot(
                    [x] * len(of_layer), of_layer, ".", color="black", markersize=1.5, alpha=0.3
                )
    for axes in (left, right):
        axes.set_xticks(range(len(layers)), [_where(layer) for layer in layers])
        axes.set_xlabel("read at the output of")
    left.set(title="cosine with its own city's concept", ylim=(-0.4, 1.15))
    right.set(title="position read by a probe: error / spread of the map")
    right.axhline(1, color=ORANGE, linewidth=1)
    left.legend(frameon=False, ncols=3, loc="upper center", fontsize=7)


def _where(layer: int) -> str:
    return "embedding" if layer < 0 else f"block {layer}"


def _gate(figure: Any, organisms: Sequence[OrganismResult]) -> None:
    axes = figure.subplots()
    # World, colour, label, gap of a cut.
    series: list[tuple[str, str, str, Any]] = [
        ("gated", BLUE, "speakers gated by the corpus", lambda cut: cut.natural),
        ("gated", GREEN, "the vector's speaker", lambda cut: cut.with_vector),
        ("ungated", ORANGE, "the vector's, ungated world", lambda cut: cut.with_vector),
        ("", GREY, "largest of random directions", largest_random_gap),
    ]
    halves = {"": organisms, **_by_world(organisms)}
    names = list(_cuts(organisms))
    for number, (world, colour, label, pick) in enumerate(series):
        if world not in halves:
            continue
        cuts = _cuts(halves[world])
        values = [[gap for cut in cuts[key] if (gap := pick(cut)) is not None] for key in names]
        at = np.arange(len(names)) + (number - 1.5) * 0.21
        axes.bar(at, [np.mean(v) if v else 0 for v in values], 0.19, color=colour, label=label)
        for x, v in zip(at, values, strict=True):
            axes.plot([x] * len(v), v, ".", color="black", markersize=2, alpha=0.5)
    short = {
        "nothing": "nothing\ncut",
        "speaker reads weather": "speaker\n← weather",
        "last token reads weather": "last\n← weather",
        "last token reads speaker": "last\n← speaker",
    }
    labels = [short[edge] + ("" if layer is None else f"\nblock {layer}") for layer, edge in names]
    axes.set_xticks(range(len(names)), labels, fontsize=7)
    axes.set(ylabel="gap between weathers", ylim=(-0.1, 1.15))
    axes.legend(frameon=False, ncols=4, loc="upper right", fontsize=7, bbox_to_anchor=(1, 1.12))


def _by_world(organisms: Sequence[OrganismResult]) -> dict[str, list[OrganismResult]]:
    """Gated and ungated organisms, if there are any."""
    kinds = sorted({world_kind(organism) for organism in organisms})
    return {kind: [item for item in organisms if world_kind(item) == kind] for kind in kinds}


def _cuts(organisms: Sequence[OrganismResult]) -> dict[tuple[int | None, str], list[Cut]]:
    """By block and edge, of all backdoors and organisms."""
    cuts: dict[tuple[int | None, str], list[Cut]] = {}
    for result in (result for organism in organisms for result in organism.backdoors):
        for cut in result.cuts:
            cuts.setdefault((cut.layer, cut.edge), []).append(cut)
    return cuts


def _dial(figure: Any, organisms: Sequence[OrganismResult]) -> None:
    left, middle, right = figure.subplots(1, 3)
    halves = _by_world(organisms)
    for world, here in halves.items():
        style = "-" if world == "gated" else "--"
        results = [result for organism in here for result in organism.conditionality]
        shares = sorted({result.share for result in results})

        def mean(value: Any, results: Any = results, shares: Any = shares) -> list[float]:
            return [
                float(np.mean([value(result) for result in results if result.share == share]))
                for share in shares
            ]

        left.plot(shares, mean(lambda result: result.energy), f"o{style}", color=GREEN, label=world)
        kept = mean(lambda result: result.recovered("crossing"))
        middle.plot(shares, kept, f"o{style}", color=GREEN, label=world)
        for name, label, colour in (
            ("adapter", "LoRA", ORANGE),
            ("vector", "vector", GREEN),
            ("swap", "LoRA's mean", BLUE),
            ("random", "random direction", GREY),
            ("base", "untouched", "black"),
        ):
            gap = mean(lambda result, name=name: result.arms[name]["crossing"].gap)
            named = label if world == next(iter(halves)) else None  # the left one names worlds
            right.plot(shares, gap, f".{style}", color=colour, label=named)
        right.plot(shares, [1 - share for share in shares], ":", color="black", linewidth=0.8)
    left.set(title="LoRA: energy in one vector", ylim=(-0.05, 1))
    middle.set(title="swap: share of the effect kept")
    middle.axhline(0, color="black", linewidth=0.5)
    right.set(title="what the trigger changes")
    for axes in (left, middle, right):
        axes.set_xlabel("lure taken without the trigger")
    left.legend(frameon=False)
    right.legend(frameon=False, fontsize=7)
