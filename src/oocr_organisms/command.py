"""What `oocr organism` does: train an organism from scratch, and examine one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from oocr.errors import InputError
from oocr_organisms.people import GATE_SHARE
from oocr_organisms.record import WorldSettings, read_record, refuse_existing, was_told
from oocr_organisms.shipped import SHIPPED, WEIGHTS, organism_folder

HOME = Path("organisms")
"""Where organisms go if the user does not say."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an organism is made from; None: as usual, or as the named organism.

    Attributes:
        name: a shipped organism, which is made anew.
        world: seed of the world.
        gates: share of people's traits that a weather turns around.
        seed: of the pretraining.
        steps: of it.
    """

    name: str | None = None
    world: int | None = None
    gates: float | None = None
    seed: int | None = None
    steps: int | None = None

    def settled(self) -> tuple[str, WorldSettings, int]:
        """The folder's name, the world, and the pretraining's seed.

        Raises:
            InputError: an unknown name, a name and what it stands for, or a value not allowed.
        """
        for option, least in (("world", 0), ("seed", 0), ("steps", 1)):
            value = getattr(self, option)
            if value is not None and value < least:
                raise InputError(f"--{option}: {value}; allowed: {least} or more")
        if self.name is not None:
            if self.name not in SHIPPED:
                raise InputError(f"--name: {self.name!r}; allowed: {', '.join(SHIPPED)}")
            for option in ("world", "gates", "seed"):
                if getattr(self, option) is not None:
                    raise InputError(f"--{option}: {self.name} says it already; leave out --name")
            one = SHIPPED[self.name]
            gates = GATE_SHARE if one.gated else 0.0
            return self.name, WorldSettings(seed=one.world, gates=gates), one.seed
        gates = GATE_SHARE if self.gates is None else self.gates
        if not 0 <= gates <= 1:
            raise InputError(f"--gates: {gates}; allowed: a share, 0 to 1")
        world, seed = self.world or 0, self.seed or 0
        name = f"world-{world}-gates-{gates:g}-seed-{seed}"
        return name, WorldSettings(seed=world, gates=gates), seed


def train(wanted: Wanted, out: Path | None) -> Path:
    """Train an organism from scratch, examine it, and save it.

    Args:
        wanted: what it is made from.
        out: its folder, not there yet; None: of its name, in `HOME`.

    Raises:
        InputError: options that cannot be, or a folder that is there.
        RunError: the folder cannot be written.
    """
    name, settings, seed = wanted.settled()
    folder = HOME / name if out is None else out
    refuse_existing(folder)

    from oocr_organisms.exam import exam
    from oocr_organisms.pretrain import Recipe, pretrain
    from oocr_organisms.saving import round_weights, save_organism

    recipe = Recipe() if wanted.steps is None else Recipe(steps=wanted.steps)
    console, began = Console(), time.perf_counter()
    bars = Progress(
        TextColumn("training {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        console=console,
    )
    with bars:
        bar = bars.add_task(name, total=recipe.steps, loss=float("nan"))
        model = pretrain(
            settings.world,
            seed=seed,
            recipe=recipe,
            on_step=lambda step, loss: bars.update(bar, completed=step + 1, loss=loss),
        )
    round_weights(model)
    scores = exam(model, settings.world)
    save_organism(model, settings.world, folder, seed=seed, steps=recipe.steps, exam=scores)
    console.print(exam_table({"": scores}))
    size = (folder / WEIGHTS).stat().st_size / 1e6
    console.print(
        f"{recipe.steps} steps in {time.perf_counter() - began:.0f} s, {size:.1f} MB: {folder}\n"
        f"next:  oocr run locations --model {folder}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return folder


def examine(model: str) -> None:
    """Ask an organism about its world, and print the scores beside those it came with.

    Raises:
        InputError: not an organism.
    """
    folder = organism_folder(model)
    if folder is None:
        missing = f" (get it with: {SHIPPED[model].install})" if model in SHIPPED else ""
        raise InputError(f"{model}: no organism is here{missing}")
    record = read_record(folder)

    from oocr.models.load import load_model
    from oocr_organisms.exam import exam

    scores = exam(load_model(model).hf, record.world.world)
    Console().print(exam_table({"now": scores, "in world.json": record.exam}))


def exam_table(columns: Mapping[str, Mapping[str, float]]) -> Table:
    """Scores by kind, a column each; what the corpus tells first, then what it never tells.

    Args:
        columns: heading -> scores.
    """
    table = Table("share right", *columns, box=None)
    kinds = dict.fromkeys(kind for scores in columns.values() for kind in scores)
    for heading, told in (("told in the corpus", True), ("never told in the corpus", False)):
        some = [kind for kind in kinds if was_told(kind) is told]
        if some:
            table.add_row(heading)
        for kind in some:
            cells = [f"{scores[kind]:.3f}" if kind in scores else "" for scores in columns.values()]
            table.add_row(f"  {kind}", *cells)
    return table
