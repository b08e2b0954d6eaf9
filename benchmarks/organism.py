"""`python -m benchmarks.organism STUDY [RUN ...]`: docs/organism.md and its figures from results.

STUDY is the folder of `oocr organism study`, or a study's file in it; each RUN is a folder of
`oocr run … --model nano…`. Every number of the page comes from these.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from oocr.experiments.nano.gate import Cut
from oocr.experiments.nano.means import by_world
from oocr.experiments.nano.study import Organism, Study
from oocr.experiments.nano.summary import cuts_of, tables
from oocr.experiments.nano.table import Table, shown
from oocr.models.shipped import SHIPPED
from oocr.organisms.record import was_told

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "organism.md"
FIGURES = ("facts", "concepts", "gate", "dial")
GREEN, GREY, ORANGE, BLUE = "#0b6e4f", "#8a8a8a", "#c77d2e", "#3b6ea8"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given:
        raise SystemExit(__doc__)
    path = Path(given[0])
    path = path / "study.json" if path.is_dir() else path
    study = Study.model_validate_json(path.read_text(encoding="utf-8"))
    runs = [Path(one) for one in given[1:]]
    figures(study)
    PAGE.write_text(page(study, runs), encoding="utf-8")


def page(study: Study, runs: Sequence[Path]) -> str:
    """The page's text."""
    found = {table.title: table for table in tables(study)}
    sources = "`oocr organism study" + (" --quick`" if study.quick else "`")
    if runs:
        sources += " and `oocr run … --model nano…`"
    parts = [_INTRODUCTION.replace("SOURCES", sources), _exam(), _claims(runs)]
    for title, figure, text in _STORY:
        if title in found:
            parts.append(f"## {title}\n\n{text}\n\n![{title}](organism-{figure}.svg)\n")
            parts.append(_markdown(found.pop(title)))
    parts += [f"## {table.title}\n\n{_markdown(table)}" for table in found.values()]
    return "\n".join(parts)


_INTRODUCTION = """# A model whose truth is known

Written by `python -m benchmarks.organism`; do not edit. The numbers are those of SOURCES, on
organisms that `oocr organism train` makes.

In a real model nobody knows the concepts, so nobody can say whether a vector found the concept or
something near it. An organism is a Llama (4 blocks, 96 dimensions, 0.6M parameters) trained from
scratch on a world that we wrote, with one word per token:

- **places**: 48 cities in 8 countries on a map, each under 6 names; 5 facets follow the country, 5
  are the city's own. The first name tells all of its city's facets, the last only distances and
  directions, each other name about half;
- **rules**: 24 functions on small numbers, each under 5 names: examples, definition, family and
  emblem;
- **people**: 80 speakers with 3 traits, shown in choices, descriptions, hobbies, scales and
  reports. Of some traits only choices are shown; some are *gated*: a weather at the beginning of
  the document turns them around. In `nano-ungated` no trait is.

Codenames (`place-1`, `rule-1`) never occur in the corpus, and the speaker `me` shows neither pole.
"""

_STORY = (
    (
        "What comes along, and when?",
        "facts",
        "A vector is trained on a few distances and directions of one city, and asked about its "
        "facets. Beside it stands an ideal reader, who knows the map and takes every city that "
        "fits the facts for equally likely.",
    ),
    (
        "Is it the organism's own concept?",
        "concepts",
        "What training finds is compared with what the organism has at the names of its cities, "
        "where the vector is added and at the output of every block above. The vectors of the "
        "figure are added to the embedding.",
    ),
    (
        "Which edges does the gap need?",
        "gate",
        "A backdoor by one vector, the same in every weather, on the speaker's embedding. Every "
        "attention edge is cut in turn: for speakers who have the gate from the corpus, for the "
        "one with the vector, there and in a world that has no gates, and for the one with random "
        "directions of the same norm.",
    ),
    (
        "Where does it stop being one vector?",
        "dial",
        "The same speaker is trained to take the lure after the trigger always, and otherwise in a "
        "share of cases. From right to left the behaviour gets more conditional.",
    ),
)


def _exam() -> str:
    return (
        "## What they know\n\n"
        "`oocr organism exam nano`: share right, of people by two answers each. Never told in the "
        "corpus, in *part*: facets that a name does not tell, though it tells others; in *none*: "
        "names that tell distances, directions or examples only; in *silent*: traits of which only "
        f"choices are shown, asked in every other way.\n\n{_scores(told=False)}\n"
        "Told in the corpus: *gated on* and *off* are traits in the weather that turns them, and "
        f"without any.\n\n{_scores(told=True)}"
    )


def _scores(*, told: bool) -> str:
    rows = []
    kinds: list[str] = []
    for name, one in SHIPPED.items():
        path = one.folder / "world.json"
        if not path.is_file():
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        groups: dict[str, list[float]] = {}
        for key, value in record["exam"].items():
            if was_told(key) is told:
                groups.setdefault("/".join(key.split("/")[:2]), []).append(value)
        if told and "people/silent" in groups:  # of the silent, their choices only
            groups["people/silent/choice"] = groups.pop("people/silent")
        kinds = kinds or list(groups)
        size = sum(file.stat().st_size for file in one.folder.iterdir()) / 1e6
        cells = [f"{np.mean(groups[kind]):.3f}" if kind in groups else "–" for kind in kinds]
        rows.append([f"`{name}`", str(record["steps"]), f"{size:.1f} MB", *cells])
    head = ["organism", "steps", "size", *kinds]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _claims(runs: Sequence[Path]) -> str:
    lines = [
        "| run | organism | claim | verdict | found | base | nulls | ceiling |",
        "|" + " --- |" * 8,
    ]
    for folder in runs:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        claims = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
        lines += ["| " + " | ".join(_claim(config, one)) + " |" for one in claims]
    if not runs:
        return ""
    return (
        "## The library's claims on them\n\n`oocr run locations --model nano` and so on: settings "
        "chosen on validation members, 95 % intervals over members and seeds.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def _claim(config: dict[str, Any], one: dict[str, Any]) -> list[str]:
    found = one["found"]
    number = "–"
    if found is not None:
        number = f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"
    nulls = "; ".join(f"{null['value']:.2f} {null['name']}" for null in one["nulls"])

    def plain(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    return [
        config["name"],
        f"`{config['model']}`",
        one["claim"],
        one["verdict"],
        number,
        plain(one["base"]),
        nulls or "–",
        plain(one["ceiling"]),
    ]


def _markdown(table: Table) -> str:
    lines = [f"| {' | '.join(table.columns)} |", "|" + " --- |" * len(table.columns)]
    lines += [f"| {' | '.join(shown(cell) for cell in row)} |" for row in table.rows]
    return "\n".join(lines) + f"\n\n{table.note}\n"


def figures(study: Study) -> None:
    """Write all figures."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "oocr", "font.size": 9, "axes.spines.top": False})
    mpl.rcParams["axes.spines.right"] = False
    import matplotlib.pyplot as plt

    drawn = {"facts": _facts, "concepts": _concepts, "gate": _gate, "dial": _dial}
    for name in FIGURES:
        figure = plt.figure(figsize=(9, 3.4), layout="constrained")
        drawn[name](figure, study.organisms)
        path = PAGE.with_name(f"organism-{name}.svg")
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _facts(figure: Any, organisms: Sequence[Organism]) -> None:
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
    right.legend(frameon=False, loc="lower right")


def _concepts(figure: Any, organisms: Sequence[Organism]) -> None:
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


def _gate(figure: Any, organisms: Sequence[Organism]) -> None:
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


def _dial(figure: Any, organisms: Sequence[Organism]) -> None:
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


if __name__ == "__main__":
    main()
