"""`python -m benchmarks.organism STUDY [RUN ...]`: docs/organism.md and its figures from results.

STUDY is the folder of `oocr organism study`, or a study's file in it; each RUN is a folder of
`oocr run … --model nano…`. Every number of the page comes from these.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.organism.figures import figures
from benchmarks.organism.page import page
from oocr_organisms.study.study import Study

PAGE = Path(__file__).resolve().parents[2] / "docs" / "organism.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given:
        raise SystemExit(__doc__)
    path = Path(given[0])
    path = path / "study.json" if path.is_dir() else path
    study = Study.model_validate_json(path.read_text(encoding="utf-8"))
    figures(study, PAGE.parent / "figures")
    PAGE.write_text(page(study, [Path(run) for run in given[1:]]), encoding="utf-8")


if __name__ == "__main__":
    main()
