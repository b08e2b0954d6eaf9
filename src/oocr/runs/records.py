"""What a run folder holds, as typed records: the interface between computing and reporting.

A run folder:
    config.yaml            the resolved configuration; `oocr run` on it redoes the run
    run.json               `RunInfo`
    made_with.json         `MadeWith`, and threads, the number of threads
    seconds.json           stage -> seconds, of all parts of an interrupted run
    work/, logs/           claims and log files of `oocr work` (`oocr.work`)
    selection.json         `Selection`: how layer, learning rate and stopping point were chosen
    rows.parquet           one row per item scored (columns: `oocr.evals.probes`, and those below)
    own_answers.json       the untouched model's choices that some tasks train on (only there)
    history.parquet        one row per arm and training step: arm, method, control, member, seed,
                           step, loss (nats per item, before the step), stop_loss (nats per item
                           on the task's `stop` items after the step; null where not measured)
    claims.json            list of `Claim`
    paper.json             list of `PaperScore` (only of tasks with a part "paper")
    constancy.parquet      one row per adapter and token group: arm, kind ("adapter", "random
                           adapter"), member, seed, layer, tokens (the group), the fields of
                           `oocr.explain.constancy.Constancy`, and to_span (signed cosine of the
                           group's mean with the mean at the span)
    tokens.parquet         one row per token of a few shown texts: arm, member, text, kind
                           ("training prompt", "probe", "unrelated text"), position, token, in_span,
                           cosine (of what the adapter adds with the mean at the span), norm
    side_effects.parquet   one row per arm: arm, member, seed, and the fields of
                           `oocr.explain.side_effects.NeutralTextCost`
    examples.json          list of `Continuation`
    samples.json           list of `Sample`
    arms/<id>/             arm.json (`ArmRecord`), vector.safetensors or adapter/, rows.parquet
    report.html

Columns of rows.parquet before those of `oocr.evals.probes`:
    arm     what was scored: "vector", "adapter", "swap at span", "swap everywhere", "base",
            "ceiling", "random direction" (of the trained vectors' site and norm), "random
            direction at span" and "random direction everywhere" (of the swaps'),
            "vector sweep", "adapter sweep" (layers other than the chosen one)
    layer   the block at whose output the arm acts; null where nothing was trained
    control "" or the control whose data the arm was trained on ("shuffled", "planted",
            "decorrelated")
    part    "probes" (out of context), "in_context", "paper" (as the paper asks and scores), or
            of answers in the model's own words (columns of `oocr.evals.free_text`; those of choices
            are null) "free" and, on the trained skill, "free_in_context"
    member  who the task is about
    seed    of the arm, or the number of the random direction; null for base and ceiling
    step    training steps so far; null where nothing was trained
    final   this row counts: it is the arm at its chosen stopping point (or nothing was trained)
"""

from __future__ import annotations

from typing import Literal

import torch

from oocr.evals.scores import Scoring
from oocr.io import RESULTS_VERSION, Record
from oocr.models.language_model import LanguageModel
from oocr.models.machine import device_kind
from oocr.steering.token_roles import Token
from oocr.tasks.task import TriggerWords

Method = Literal["vector", "adapter"]
Role = Literal["test", "control", "sweep", "selection"]


class GridPoint(Record):
    """One point of the grid; its score is null where there was nothing to choose."""

    method: Method
    layer: int
    learning_rate: float
    step: int
    score: float | None
    chosen: bool = False


class Selection(Record):
    """How hyperparameters were chosen: never on the items that are reported."""

    criterion: str
    tasks: tuple[str, ...]
    grid: tuple[GridPoint, ...]

    def chosen(self, method: Method) -> GridPoint:
        """The point that was chosen for a method."""
        return next(point for point in self.grid if point.chosen and point.method == method)

    def best_by_layer(self, method: Method) -> list[GridPoint]:
        """The best point of each layer that was not chosen; earlier points win ties."""
        points = [point for point in self.grid if point.method == method]
        chosen = self.chosen(method).layer
        layers = dict.fromkeys(point.layer for point in points if point.layer != chosen)

        def score(point: GridPoint) -> float:
            return float("-inf") if point.score is None else point.score

        return [max((p for p in points if p.layer == layer), key=score) for layer in layers]


class ArmRecord(Record):
    """One trained arm."""

    id: str
    method: Method
    role: Role
    control: str
    task: str
    member: str
    seed: int
    layer: int
    positions: str
    learning_rate: float
    learning_rate_absolute: float
    stop_step: int
    steps: int
    norm: float
    losses: tuple[float, ...]
    stop_losses: dict[int, float]
    seconds: float
    key: str


class Continuation(Record):
    """One prompt with the model's own greedy continuation under several arms."""

    member: str
    prompt: str
    expected: str
    answers: dict[str, str]


class Sample(Record):
    """A training row or a question in the model's tokens; `expected` is "" for training rows."""

    part: Literal["training", "probe"]
    facet: str
    member: str
    tokens: tuple[Token, ...]
    expected: str


class MadeWith(Record):
    """What rounding depends on apart from the model; `results`: `RESULTS_VERSION`."""

    torch: str
    threads: int
    device: str
    dtype: str
    results: str

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        return f"torch {self.torch}, {threads}, {self.device}, {self.dtype}"


class ModelInfo(Record):
    """Facts about a model, kept after it is unloaded; see `oocr.models.machine.device_kind`."""

    model: str
    model_source: dict[str, str]
    model_fingerprint: str
    parameters: int
    blocks: int
    d_model: int
    dtype: str
    device: str
    device_kind: str = ""

    def made_with(self, threads: int) -> MadeWith:
        """What results of this model are made with on this machine."""
        return MadeWith(
            torch=str(torch.__version__),
            threads=threads,
            device=self.device_kind,
            dtype=self.dtype,
            results=RESULTS_VERSION,
        )

    @staticmethod
    def of(model: LanguageModel) -> ModelInfo:
        """The facts of a loaded model."""
        return ModelInfo(
            model=model.name,
            model_source={key: str(value) for key, value in model.source.items()},
            model_fingerprint=model.fingerprint,
            parameters=model.parameters,
            blocks=model.n_blocks,
            d_model=model.d_model,
            dtype=str(model.dtype).removeprefix("torch."),
            device=", ".join(sorted({str(part.device) for part in model.hf.parameters()})),
            device_kind=device_kind(model.device),
        )


class RunInfo(ModelInfo):
    """Settings and circumstances of a run."""

    name: str
    family: str
    about: str
    score: Literal["accuracy", "log_odds"]
    scoring: Scoring
    versions: dict[str, str]
    threads: int
    seeds: tuple[int, ...]
    chance: dict[str, float]
    trigger: TriggerWords | None = None
    notes: tuple[str, ...] = ()  # remarks on the rows under this model
    stages: dict[str, float]
    peak_memory_gib: float
    peak_gpu_gib: float = 0.0  # sum over processes of their peaks on GPUs
    command: str
    complete: bool
