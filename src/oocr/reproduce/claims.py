"""Claims on the page of `oocr reproduce`: the table (`claims.yaml`), and their tasks and needs.

In the folder of the first run that an analysis reads:
    analyses/<name>.json      `KeptAnalysis`
    analyses/<name>.parquet   its table, for figures (only where it has one)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter

from oocr.claims.page_claims import LATER as LATER
from oocr.claims.page_claims import OURS as OURS
from oocr.claims.page_claims import PageClaim, with_rules
from oocr.tasks.package_files import package_yaml

Need = Literal["seeds", "layers", "a LoRA", "all layers", "training", "a judge"]
"""Several seeds of a member; several layers; a LoRA in one layer, in all; arms trained by the
analysis itself, which `--quick` leaves out; a judge model."""

TRAINED = ("countries", "borders", "risk", "functions", "locations")


@dataclass(frozen=True, slots=True)
class PaperClaim(PageClaim):
    """A claim about kinds of tasks.

    Attributes:
        subjects: the kinds of tasks on which it is judged.
        needs: what the runs must have for it.
    """

    subjects: tuple[str, ...] = TRAINED
    needs: tuple[Need, ...] = ()


CLAIMS = TypeAdapter(tuple[PaperClaim, ...]).validate_python(
    with_rules(package_yaml(__package__, "claims.yaml"))
)
