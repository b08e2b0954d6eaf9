"""What is kept of a run: the numbers of the page, small enough for the repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from oocr.claims.records import Claim
from oocr.errors import InputError
from oocr.io import Record
from oocr.runs.records import GridPoint, Method

RESULTS = Path(__file__).resolve().parents[1] / "results" / "sizes"

MEMBER = "iaftvb"
"""The function (x + 5) that the README's picture shows."""

Setting = str | int | float | bool | None
Part = Literal["in_context", "probes", "free_in_context", "free", "paper"]


class Score(Record):
    """How an arm does on one facet of a part ("": all that counts), with its 95 % interval."""

    part: Part
    facet: str
    arm: Literal["base", "ceiling", "vector", "adapter"]
    value: float
    low: float
    high: float


class Curve(Record):
    """A line over `x`: scores by layer or step, or the validation score by layer.

    `low` and `high` are empty where there is no interval.
    """

    kind: Literal["layer", "step", "validation"]
    part: str = ""
    facet: str = ""
    method: Method
    x: tuple[float, ...]
    value: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


class Sentence(Record):
    """One question and what was said, by arm; `right` only where that was judged."""

    member: str
    prompt: str
    expected: str
    answers: dict[str, str]
    right: dict[str, bool] = Field(default_factory=dict)


class Machine(Record):
    """Where the run was made."""

    processor: str
    cores: int
    device: str


class KeptRun(Record):
    """One finished run.

    `settings` are those of its task, and others that tell runs apart; `trained` are the first rows
    of training data of a Functions run, prompt and answer, of the member that the README shows.
    """

    id: str
    task: str
    name: str
    model: str
    parameters: int
    blocks: int
    dtype: str
    settings: dict[str, Setting]
    members: int
    seeds: int
    chosen: tuple[GridPoint, ...]
    claims: tuple[Claim, ...]
    scores: tuple[Score, ...]
    curves: tuple[Curve, ...] = ()
    sentences: tuple[Sentence, ...] = ()
    trained: tuple[str, ...] = ()
    command: str
    seconds: float
    peak_memory_gib: float
    date: str
    machine: Machine
    versions: dict[str, str]
    notes: tuple[str, ...] = ()

    def score(self, part: str, arm: str, facet: str = "") -> Score | None:
        """One of the scores."""
        wanted = (part, arm, facet)
        return next((s for s in self.scores if (s.part, s.arm, s.facet) == wanted), None)


def kept_runs(folder: Path) -> list[KeptRun]:
    """All runs of a folder.

    Raises:
        InputError: a file that is not a kept run.
    """
    return [read(path) for path in sorted(folder.glob("*.json"))]


def read(path: Path) -> KeptRun:
    """One kept run.

    Raises:
        InputError: not the file of a kept run.
    """
    try:
        return KeptRun.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "(all)"
        raise InputError(
            f"{path}, field {where}: {first['msg']}; keep the run again: "
            "python -m benchmarks.sizes keep RUN"
        ) from error


def rounded(value: float) -> float:
    """Five digits: more than any page shows."""
    return float(f"{value:.5g}")


def all_rounded(values: Sequence[float]) -> tuple[float, ...]:
    """Of each five digits."""
    return tuple(map(rounded, values))
