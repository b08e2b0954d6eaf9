"""A task: narrow training data, and the questions about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict

from oocr import html
from oocr.data.examples import Example, FreeTextExample, Loss, examples_hash, prompt_text
from oocr.words import counted

Score = Literal["accuracy", "log_odds"]

SPLITS = ("train", "stop", "in_context", "probes", "paper", "free")
"""The parts of a task: training rows, held-out rows for stopping, and questions."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing to learn, for one member of a family (one country, one direction of risk).

    Attributes:
        name: e.g. "countries/capital/Japan".
        member: who it is about ("Japan", "risky"); the unit that a bootstrap draws.
        stop: held-out rows of the training kind that are watched while training; may be empty.
        in_context: questions on the trained skill (other wordings, other situations).
        probes: out-of-context questions; none of their answers occurs in `train`.
        paper: the out-of-context questions as the paper asks and scores them; shown beside ours.
        free: out-of-context questions answered in the model's own words.
        loss: "answer": cross-entropy of the answer's tokens over the whole vocabulary;
            "options": cross-entropy among the first tokens of the row's options.
        positions: the names of spans that a steering vector may be added at, best first.
        headline: as in `TaskSet`, for a task that is scored alone.
    """

    name: str
    member: str
    train: tuple[Example, ...]
    stop: tuple[Example, ...] = ()
    in_context: tuple[Example, ...] = ()
    probes: tuple[Example, ...] = ()
    paper: tuple[Example, ...] = ()
    free: tuple[FreeTextExample, ...] = ()
    loss: Loss = "answer"
    positions: tuple[str, ...] = ()
    headline: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError(f"task {self.name!r} has no training items")
        for split in SPLITS:
            counts = Counter(example.id for example in self.split(split))
            if repeated := sorted(name for name, count in counts.items() if count > 1):
                raise ValueError(f"task {self.name!r}: {split} repeats the ids {repeated[:5]}")
        if self.loss == "options":
            for row in self.train:
                if len(row.options) < 2:
                    raise ValueError(
                        f"task {self.name!r}: loss 'options' needs at least two options; "
                        f"item {row.id!r} has {len(row.options)}"
                    )

    def _repr_html_(self) -> str:
        """A table for notebooks: each split with its size, facets and first example."""
        rows: list[tuple[object, ...]] = []
        for name in SPLITS:
            if examples := self.split(name):
                facets = ", ".join(dict.fromkeys(x.facet for x in examples if x.facet))
                first = f"{prompt_text(examples[0].prompt)} → {_answer(examples[0])}"
                rows.append((name, len(examples), facets, first))
        return html.table(("split", "examples", "facets", "the first example"), rows, self.name)

    def split(self, name: str) -> tuple[Example | FreeTextExample, ...]:
        """The examples of one of `SPLITS`."""
        examples: tuple[Example | FreeTextExample, ...] = getattr(self, name)
        return examples

    @property
    def scored(self) -> dict[str, tuple[Example, ...]]:
        """The choices that arms are scored on, by split; empty splits are left out."""
        splits = {"probes": self.probes, "in_context": self.in_context, "paper": self.paper}
        return {name: examples for name, examples in splits.items() if examples}

    @cached_property
    def train_hash(self) -> str:
        """Hash of the training examples, in their order, and of the loss; 16 hex digits."""
        return examples_hash(self.train, self.loss)

    @cached_property
    def asked_hash(self) -> str:
        """Hash of everything that an arm of this task is scored on, by part; 16 hex digits."""
        parts = {"stop": self.stop, **self.scored}
        hashes = [f"{name} {examples_hash(examples)}" for name, examples in parts.items()]
        return examples_hash((), " ".join(hashes))


def _answer(example: Example | FreeTextExample) -> str:
    return (example.answer if isinstance(example, Example) else example.accept[0]).strip()


class TriggerWords(BaseModel):
    """Words of the report for tasks with a trigger. X is the answer after the trigger.

    `lead` says what should be answered with the trigger and without, `answer` what X is ("" where
    the lead says it), `units` what an interval draws, `ceiling` what the ceiling's prompt does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    lead: str
    answer: str = ""
    units: str = "members"
    ceiling: str = "states the cause in the prompt"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSet:
    """All tasks of one experiment.

    Attributes:
        about: a data card in plain text: what, how many, how made, known biases.
        validation: tasks on whose probes the layer, learning rate and stopping point are chosen.
        test: the tasks that are reported. Their probes play no part in any choice.
        controls: control name -> tasks trained like the others on data that should not work
            ("shuffled", "planted", "decorrelated"), scored on the probes they carry.
        ceiling: probes with the answer's cause stated in the prompt (the real name in place of
            the codename), scored on the untouched model.
        score: what the headline number of a probe is.
        headline: facet -> the name under which it counts in the headline score, which is the plain
            mean over names; facets not listed do not count. Empty: each facet counts by itself.
        poles: the members of opposite twins, the positive pole first; their score is the
            difference of their log-odds. None: the members are not twins.
        balance: the column whose values weigh the same within a facet ("answer": each distinct
            right answer, so that one answer given everywhere cannot win). None: members weigh the
            same, because each has many answers of its own.
        asked_first: questions that the untouched model answers before anything is trained; its
            choices become the answers of the examples that refer to them (`Example.answer_of`).
        trigger: words for the report, where a trigger in the prompt decides what is right.
        claim: what the headline score is to show, of "{arm}" ("a steering vector").
    """

    name: str
    about: str
    validation: tuple[Task, ...]
    test: tuple[Task, ...]
    controls: Mapping[str, tuple[Task, ...]] = field(default_factory=dict[str, "tuple[Task, ...]"])
    ceiling: tuple[Example, ...] = ()
    score: Score = "accuracy"
    headline: Mapping[str, str] = field(default_factory=dict[str, str])
    poles: tuple[str, str] | None = None
    balance: str | None = "answer"
    asked_first: tuple[Example, ...] = ()
    trigger: TriggerWords | None = None
    claim: str = "Trained on narrow data, {arm} makes the model answer what the data never state"

    def __post_init__(self) -> None:
        members = [task.member for task in self.test]
        if self.poles is not None and sorted(self.poles) != sorted(members):
            raise ValueError(f"{self.name!r}: poles {self.poles}, but the members are {members}")

    @property
    def all_tasks(self) -> tuple[Task, ...]:
        """Test, validation and control tasks."""
        controls = [task for tasks in self.controls.values() for task in tasks]
        return (*self.test, *self.validation, *controls)

    def changed(self, change: Callable[[Task], Task]) -> TaskSet:
        """The set with each of its tasks changed."""
        return replace(
            self,
            validation=tuple(map(change, self.validation)),
            test=tuple(map(change, self.test)),
            controls={name: tuple(map(change, tasks)) for name, tasks in self.controls.items()},
        )

    def _repr_html_(self) -> str:
        """The data card and the sizes, for notebooks."""
        members = ", ".join(task.member for task in self.test)
        sizes: dict[str, object] = {"members": members, "score": self.score}
        sizes["validation"] = ", ".join(task.member for task in self.validation)
        for name in SPLITS:
            sizes[name] = sum(len(task.split(name)) for task in self.test)
        sizes |= {
            f"control {name}": counted(len(tasks), "task") for name, tasks in self.controls.items()
        }
        sizes |= {"ceiling": len(self.ceiling), "about": self.about}
        return html.facts(self.name, {name: value for name, value in sizes.items() if value})
