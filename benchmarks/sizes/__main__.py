"""docs/results.md and its figures, from kept runs.

`python -m benchmarks.sizes keep RUN [RUN ...]` keeps the numbers of finished run folders, a small
JSON file each, in benchmarks/results/sizes/; give it on the machine that ran them.
`python -m benchmarks.sizes` writes the page from these files alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.sizes.figures import figures
from benchmarks.sizes.keep import keep
from benchmarks.sizes.opening import opening
from benchmarks.sizes.page import page
from benchmarks.sizes.precision import single_precision
from benchmarks.sizes.records import RESULTS, kept_runs
from oocr.errors import InputError
from oocr.io import write_text

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results.md"
FIGURES = "figures"
"""The folder of the figures, beside the page."""
OPENING = "opening.svg"
"""The README's picture, one of them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Keep runs, or write the page."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["keep"] and given[1:]:
            for folder in given[1:]:
                print(keep(Path(folder), RESULTS))
        elif not given:
            write_page(RESULTS, PAGE)
        else:
            raise SystemExit(__doc__)
    except InputError as error:
        raise SystemExit(f"error: {error}") from error


def write_page(results: Path, path: Path) -> None:
    """The page, and its figures in a folder beside it; older ones that are not made now go."""
    runs = kept_runs(results)
    drawn = figures(single_precision(runs))
    folder = path.parent / FIGURES
    for old in folder.glob(f"{path.stem}-*.svg"):
        old.unlink()
    if (picture := opening(runs)) is not None:
        write_text(folder / OPENING, picture)
    for name, svg in drawn.items():
        write_text(folder / f"{path.stem}-{name}.svg", svg)
    write_text(path, page(runs, {name: f"{FIGURES}/{path.stem}-{name}.svg" for name in drawn}))


if __name__ == "__main__":
    main()
