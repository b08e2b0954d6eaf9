"""From the words of the command line to a model, what can be put on it, and what can be asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from oocr.audit.source import AuditSource, fine_tune_of
from oocr.errors import InputError
from oocr.evals.scores import Scoring
from oocr.explain.lora_vectors import mean_on_unrelated
from oocr.hub_files import hub_path, is_file_name
from oocr.models.gguf.header import is_gguf, read_gguf_header
from oocr.models.language_model import LanguageModel
from oocr.models.sources.bundled import folder_of, plugin_of
from oocr.play.probe_set import ProbeSet
from oocr.play.steering import Kind, SteeringSource, steering_sources
from oocr.reproduce.finished_runs import FinishedRun, read_finished
from oocr.runs.arms import load_intervention
from oocr.runs.records import ArmRecord
from oocr.runs.resolve import with_own_answers
from oocr.steering.formats.adapter_config import CONFIG
from oocr.steering.formats.tensor_files import content_of
from oocr.steering.formats.vector_file import VectorFile
from oocr.steering.formats.vector_layouts import read_vector_file
from oocr.steering.hooks import check_site
from oocr.steering.vectors import Vector

SWAPS = {"swap-everywhere": "mean of the LoRA, everywhere", "swap-at-span": "mean of the LoRA"}
"""Files of an explained LoRA of a run."""

WORDS = 5
"""Of an example for a model of a small world."""

FILES, ANONYMOUS = "files", ("vector", "adapter")

NEW_TOKENS, FEW_NEW_TOKENS = 16, 4
"""At first; few where a model knows the words of a small world only: its answers are one word."""

EXAMPLES = ("The capital of France is", "Once upon a time", "The best thing about the sea is")
OF_SPAN = ("{} is", "The people of {} love", "the country of {} is")
MOST_EXAMPLES = 6
"""Prompts to begin with, where no run has questions."""

Word = FinishedRun | VectorFile | AuditSource
"""A source that a word of the command line names: a run, a vector's file, or a LoRA."""


@dataclass(frozen=True, slots=True, eq=False)
class Playground:
    """A model with what can be put on it and what can be asked.

    `words` is how it was called; `notes` are for people.
    """

    model: LanguageModel
    words: tuple[str, ...]
    sources: Mapping[str, SteeringSource]
    probe_sets: Mapping[str, ProbeSet]
    notes: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    new_tokens: int = 16

    def probe_set_of(self, preset: str) -> ProbeSet:
        """The questions that a preset is of; InputError: there is none."""
        for probe_set in self.probe_sets.values():
            if preset in probe_set.by_id:
                return probe_set
        raise InputError(f"preset {preset!r}: no such question here")


def is_run(word: str) -> bool:
    """Whether a word names the folder of a run."""
    return (Path(word).expanduser() / "run.json").is_file()


def read_word(word: str) -> Word:
    """The source that a word names, without loading a model; InputError: it is no source."""
    path = Path(word).expanduser()
    if is_run(word):
        return read_finished(path)
    if path.is_file() and not (path.parent / CONFIG).is_file() and _is_vector(path):
        return read_vector_file(path)
    address = hub_path(word)
    if address is None and is_file_name(word) and not path.exists():
        raise InputError(f"{word}: there is no such file")
    if address is not None and address.path is not None:
        return read_vector_file(word)
    source = fine_tune_of(word, checkpoint=False, alpha=None)
    if source.adapter is None and address is not None:
        return read_vector_file(word)
    if source.adapter is None:
        raise InputError(
            f"{word}: a whole model; allowed after the model: vectors, LoRAs, folders of runs"
        )
    return source


def _is_vector(path: Path) -> bool:
    if is_gguf(path):
        return read_gguf_header(path).kind == "controlvector"
    content, _ = content_of(path)
    return not (isinstance(content, dict) and any("lora_" in str(name) for name in content))


def loading_of(word: Word) -> dict[str, Any] | None:
    """The arguments of `load_model` for a run's own model; None: no run."""
    return dict(word.config.loading) if isinstance(word, FinishedRun) else None


def playground(
    model: LanguageModel,
    words: Sequence[str],
    named: Sequence[tuple[str, Word]],
    completing: Callable[[VectorFile], VectorFile] = lambda file: file,
) -> Playground:
    """Put together what was read; `completing` adds what a vector's file does not say.

    InputError: what does not fit the model, or two words that name the same.
    """
    sources: dict[str, SteeringSource] = {}
    probe_sets: dict[str, ProbeSet] = {}
    notes: list[str] = []
    for word, read in named:
        loaded: Iterator[SteeringSource]
        if isinstance(read, FinishedRun):
            sets = run_probe_sets(model, read)
            probe_sets |= {probe_set.id: probe_set for probe_set in sets}
            loaded = run_sources(read)
        elif isinstance(read, VectorFile):
            loaded = vector_sources(completing(read))
        else:
            loaded = lora_sources(model, read)
        for source in loaded:
            if source.id in sources:
                raise InputError(
                    f"{word}: {source.id} is given twice; allowed: sources with different names"
                )
            sources[source.id] = source
            if isinstance(source.steering, Vector):
                vector = source.steering
                check_site(model, vector.layer, vector.site, vector.direction.shape[-1])
                if trouble := model.differs_from(vector.about):
                    notes.append(f"{source.label}: the vector {trouble}")
            else:
                with source.steering.on(model):  # refuses one that does not fit
                    pass
    plugin = plugin_of(model.name)
    known = None if plugin is None else plugin.words(folder_of(model.name))
    return Playground(
        model,
        tuple(words),
        sources,
        probe_sets,
        tuple(dict.fromkeys(notes)),
        () if probe_sets else example_prompts(model, sources.values(), known),
        NEW_TOKENS if known is None else FEW_NEW_TOKENS,
    )


def example_prompts(
    model: LanguageModel, sources: Iterable[SteeringSource], known: frozenset[str] | None
) -> tuple[str, ...]:
    """A few prompts in the model's language, about the spans of its vectors if they have any."""
    spans = dict.fromkeys(
        text for source in sources for text in source.steering.spans.values() if text
    )
    about = [prompt.format(span) for span in list(spans)[:2] for prompt in OF_SPAN]
    if known is None:
        return (*about, *EXAMPLES)[:MOST_EXAMPLES]
    about = [prompt for prompt in about if known.issuperset(prompt.split())]
    plugin = plugin_of(model.name)
    texts = plugin.neutral_texts(folder_of(model.name)) if plugin else []
    others = [" ".join(text.text.split()[:WORDS]) for text in texts[: len(EXAMPLES)]]
    return (*about, *others)[:MOST_EXAMPLES]


def vector_sources(file: VectorFile) -> Iterator[SteeringSource]:
    """The vectors of a file."""
    name = short_name(file.path)
    for vector in file.vectors:
        several = len(file.layers) > 1
        id = f"{name}-{vector.layer}" if several else name
        given = {"layer": vector.layer, "positions": vector.positions, "site": vector.site}
        ours = file.format == "of this library"
        arguments = "" if ours else "".join(f", {key}={value!r}" for key, value in given.items())
        origin = f"oocr.read_vector({str(file.path)!r}{arguments})"
        label = f"{name}, block {vector.layer}" if several else name
        yield from steering_sources("vector", label, FILES, vector, file.path, origin, id)


def lora_sources(model: LanguageModel, read: AuditSource) -> Iterator[SteeringSource]:
    """A LoRA, and its mean on unrelated text as a vector in its place."""
    adapter = read.adapter
    assert adapter is not None
    path = Path(read.given).expanduser()
    name = short_name(path)
    mean_id = f"{name}-mean"
    origin = f"oocr.read_adapter({str(path)!r})"
    mean = mean_on_unrelated(model, adapter)
    yield SteeringSource(
        name, "LoRA", name, FILES, adapter, path, origin, mean_id, "; ".join(read.notes)
    )
    label = f"{name}: its mean"
    how = f"oocr.explain.lora_vectors.mean_on_unrelated(model, {origin})"
    yield SteeringSource(mean_id, "mean of a LoRA", label, FILES, mean, path, how)


def short_name(path: Path) -> str:
    """A file's name on the page: that of its folder, if the file has a generic name."""
    return path.resolve().parent.name if path.stem in ANONYMOUS else path.stem


def run_sources(run: FinishedRun) -> Iterator[SteeringSource]:
    """The reported arms of a run: vectors, LoRAs, and the means that were put in their place."""
    arms = [*run.reported("vector"), *run.reported("adapter")]
    for arm in sorted(arms, key=lambda arm: (arm.member, arm.seed, arm.method == "adapter")):
        yield from _arm_sources(run, arm)


def _arm_sources(run: FinishedRun, arm: ArmRecord) -> Iterator[SteeringSource]:
    folder, id = run.folder / "arms" / arm.id, arm_id(run, arm)
    steering = load_intervention(run.folder / "arms", arm)
    group, seed = f"{run.config.name} · {arm.member}", f"seed {arm.seed}"
    if isinstance(steering, Vector):
        path = folder / "vector.safetensors"
        origin = f"oocr.Vector.load({str(path)!r})"
        yield from steering_sources("vector", f"vector, {seed}", group, steering, path, origin, id)
        return
    explained = folder.with_name(f"{arm.id}-explained")
    there = {name: path for name in SWAPS if (path := explained / f"{name}.safetensors").is_file()}
    colour = f"{id}-{next(iter(there))}" if there else ""
    path = folder / "adapter"
    origin = f"oocr.Adapter.load({str(path)!r})"
    yield SteeringSource(id, "LoRA", f"LoRA, {seed}", group, steering, path, origin, colour)
    for name, file in there.items():
        kind: Kind = "mean of a LoRA"
        vector = Vector.load(file)
        at = "" if vector.positions == "all" else f", at {vector.positions}"
        label, origin = f"{SWAPS[name]}{at}, {seed}", f"oocr.Vector.load({str(file)!r})"
        yield from steering_sources(kind, label, group, vector, file, origin, f"{id}-{name}")


def arm_id(run: FinishedRun, arm: ArmRecord) -> str:
    """A short id of an arm, for addresses."""
    name = re.sub(r"[^\w.+-]+", "-", f"{run.config.name}-{arm.member}")
    return f"{name}-{'lora' if arm.method == 'adapter' else 'vector'}-{arm.seed}"


def run_probe_sets(model: LanguageModel, run: FinishedRun) -> list[ProbeSet]:
    """The questions of each member of a run, with the member's arms of the first seed."""
    tasks = with_own_answers(run.resolved.tasks, model, run.folder)
    scoring = Scoring.of(tasks)
    if scoring.measure != "accuracy":  # of one member alone
        scoring = scoring.model_copy(update={"measure": "log_odds", "poles": {}})
    sets: list[ProbeSet] = []
    for task in tasks.test:
        arms: dict[str, str] = {}
        for method in ("vector", "adapter"):
            trained = [arm for arm in run.reported(method) if arm.member == task.member]
            if not trained:
                continue
            arm = min(trained, key=lambda arm: arm.seed)
            for source in _arm_sources(run, arm):
                arms.setdefault(source.kind, source.id)
        if task.probes and arms:
            id = re.sub(r"[^\w.+-]+", "-", f"{run.config.name}-{task.member}")
            opening = opening_probe(run, task.member)
            sets.append(ProbeSet(id, run.config.name, task, arms, scoring, opening))
    return sets


def opening_probe(run: FinishedRun, member: str) -> str:
    """The item of a member that the run's first arm is surest of; "": none.

    One that it answers right and the untouched model does not, if there is one.
    """
    rows = run.rows.filter(
        pl.col("part") == "probes", pl.col("member") == member, pl.col("final"), control=""
    )
    scored = rows.filter(pl.col("arm").is_in(["vector", "adapter"])).sort("arm", "seed")
    if scored.is_empty():
        return ""
    arm = scored.filter(arm=scored["arm"][-1])  # a vector, if the run has any
    arm = arm.filter(seed=arm["seed"][0])
    both = arm.join(rows.filter(arm="base"), on="item", suffix="_base")
    best = both.sort(pl.col("right") & ~pl.col("right_base"), "logp", descending=True)
    return "" if best.is_empty() else str(best["item"][0])
