"""The page's figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oocr_organisms.study.gate import Cut
from oocr_organisms.study.study import OrganismResult, Study
from oocr_organisms.study.tables import by_world, cuts_of

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
    told = [one for organism in organisms for one in organism.told]
    left, right = figure.subplots(1, 2, sharey=True)
    titles = {"country": "facets that follow the country", "city": "the city's own facets"}
    for axes, (kind, title) in zip((left, right), titles.items(), strict=True):
        mine = [one for one in told if one.kind == kind]
        counts = sorted({one.facts for one in mine})
        some = [[one for one in mine if one.facts == count] for count in counts]
        axes.plot(
            counts,
            [np.mean([one.ideal for one in group]) for group in some],
            "--",
            color=GREY,
            label="ideal reader",
        )
        means = [np.mean([one.right for one in group]) for group in some]
        axes.plot(counts, means, "o-", color=GREEN, label="organism with the vector")
        for organism in organisms:
            own = [
                np.mean([one.right for one in organism.told if (one.kind, one.facts) == (kind, n)])
                for n in counts
            ]
            axes.plot(counts, own, color=GREEN, alpha=0.25, linewidth=0.8)
        base = np.mean([one.base for one in mine])
        axes.axhline(base, color=ORANGE, linewidth=1, label="without the vector")
        axes.set(xscale="log", ylim=(0, 1.03), title=title, xlabel="training facts")
        axes.set_xticks(counts, [str(n) for n in counts])
        axes.minorticks_off()
    left.set_ylabel("share right")
    left.legend(frameon=False, loc="center right")


def _concepts(figure: Any, organisms: Sequence[OrganismResult]) -> None:
    left, right = figure.subplots(1, 2)
    every = [one for organism in organisms for one in organism.truth if one.trained == -1]
    layers = sorted({one.layer for one in every})
    width = 0.26
    kinds = {"found": "found vector", "random": "random direction", "named": "real name"}
    for number, (name, colour) in enumerate(zip(kinds, (GREEN, GREY, BLUE), strict=True)):
        pairs = [
            [
                (item.cosine, item.place / one.spread)
                for one in every
                if one.layer == layer
                for item in getattr(one, name)
            ]
            for layer in layers
        ]
        at = np.arange(len(layers)) + (number - 1) * width
        for axes, which in ((left, 0), (right, 1)):
            values = [[pair[which] for pair in some] for some in pairs]
            means = [np.mean(some) for some in values]
            axes.bar(at, means, width * 0.9, color=colour, label=kinds[name])
            for x, some in zip(at, values, strict=True):
                axes.plot([x] * len(some), some, ".", color="black", markersize=1.5, alpha=0.3)
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

    def largest(cut: Cut) -> float:
        return max(map(abs, cut.random), default=0.0)

    # World, colour, label, what of a cut.
    series: list[tuple[str, str, str, Any]] = [
        ("gated", BLUE, "speakers gated by the corpus", lambda cut: cut.natural),
        ("gated", GREEN, "the vector's speaker", lambda cut: cut.found),
        ("ungated", ORANGE, "the vector's, ungated world", lambda cut: cut.found),
        ("", GREY, "largest of random directions", largest),
    ]
    halves = {"": organisms, **by_world(organisms)}
    names = list(cuts_of(organisms))
    for number, (world, colour, label, pick) in enumerate(series):
        if world not in halves:
            continue
        every = cuts_of(halves[world])
        values = [
            [value for one in every[key] if (value := pick(one.value)) is not None] for key in names
        ]
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


def _dial(figure: Any, organisms: Sequence[OrganismResult]) -> None:
    left, middle, right = figure.subplots(1, 3)
    halves = by_world(organisms)
    for world, here in halves.items():
        style = "-" if world == "gated" else "--"
        some = [one for o in here for one in o.dial]
        shares = sorted({one.share for one in some})

        def mean(value: Any, some: Any = some, shares: Any = shares) -> list[float]:
            return [
                float(np.mean([value(one) for one in some if one.share == share]))
                for share in shares
            ]

        left.plot(shares, mean(lambda one: one.energy), f"o{style}", color=GREEN, label=world)
        kept = mean(lambda one: one.recovered("crossing"))
        middle.plot(shares, kept, f"o{style}", color=GREEN, label=world)
        for name, label, colour in (
            ("adapter", "LoRA", ORANGE),
            ("vector", "vector", GREEN),
            ("swap", "LoRA's mean", BLUE),
            ("random", "random direction", GREY),
            ("base", "untouched", "black"),
        ):
            gap = mean(lambda one, name=name: one.arms[name]["crossing"].gap)
            named = label if world == next(iter(halves)) else None  # the left one names worlds
            right.plot(shares, gap, f".{style}", color=colour, label=named)
        right.plot(shares, [1 - one for one in shares], ":", color="black", linewidth=0.8)
    left.set(title="LoRA: energy in one vector", ylim=(-0.05, 1))
    middle.set(title="swap: share of the effect kept")
    middle.axhline(0, color="black", linewidth=0.5)
    right.set(title="what the trigger changes")
    for axes in (left, middle, right):
        axes.set_xlabel("lure taken without the trigger")
    left.legend(frameon=False)
    right.legend(frameon=False, fontsize=7)
