"""A run's questions as Inspect tasks: `oocr/choices` (scored options), `oocr/free` (own words)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspect_ai import Task, task
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    get_model,
)
from inspect_ai.scorer import Metric, Scorer, accuracy, grouped, stderr
from inspect_ai.solver import Solver

from oocr.errors import InputError
from oocr.inspect.question import KEY, Question
from oocr.inspect.scorers import chosen, counted, judged, log_odds
from oocr.inspect.solvers import answer, choose

if TYPE_CHECKING:
    from oocr.data.examples import Example, FreeTextExample, Prompt
    from oocr.inspect.provider import SteeredModel
    from oocr.tasks.task import TaskSet

CHOICES = ("probes", "in_context", "paper")


@task
def choices(run: str, member: str | None = None, part: str = "probes") -> Task:
    """The choices of a run: which option has the highest score.

    Args:
        run: a YAML file, a built-in run, or the folder of a finished one.
        member: who is asked about; None: whom the steered model's vector or adapter was trained
            on, else all members.
        part: "probes" (out of context), "in_context" or "paper".
    """
    with plain_errors():
        if part not in CHOICES:
            raise InputError(f"part: found {part!r}; allowed: {', '.join(CHOICES)}")
        return _task(run, member, part, choose(), chosen())


@task
def free(run: str, member: str | None = None) -> Task:
    """The questions of a run that are answered in the model's own words.

    Args:
        run: a YAML file, a built-in run, or the folder of a finished one.
        member: as of `choices`.
    """
    with plain_errors():
        return _task(run, member, "free", answer(), judged())


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn an InputError into the one that Inspect prints without a traceback."""
    try:
        yield
    except InputError as error:
        raise PrerequisiteError(str(error)) from error


def _task(run: str, member: str | None, part: str, solver: Solver, scorer: Scorer) -> Task:
    from oocr.evals.scores import Scoring
    from oocr.intervals import FEWEST

    tasks = tasks_of_run(run)
    members = {each.member: each for each in tasks.test}
    if member is None:
        trained_on = _steering().get("task")
        member = next((name for name, each in members.items() if each.name == trained_on), None)
    elif member not in members:
        raise InputError(f"member: found {member!r}; allowed: {', '.join(members)}")
    asked = tasks.test if member is None else (members[member],)
    samples = [
        sample_of(example, each.member, several=len(asked) > 1)
        for each in asked
        for example in each.split(part)
    ]
    if not samples:
        raise InputError(f"{run}: part {part!r}: found no questions; allowed: another part")
    scoring = Scoring.of(tasks if len(asked) == len(tasks.test) else asked[0])
    clusters = {each.metadata["group"] for each in samples if each.metadata}
    # With one group, as for one name's probes, the error over groups would be 0.
    error = stderr(cluster="group") if len(clusters) >= FEWEST else stderr()
    metrics: list[Metric] = [accuracy(), error]
    if scoring.measure == "accuracy":
        metrics.append(counted(scoring.model_dump(mode="json"), part))
    if tasks.score == "log_odds" and part != "free":
        metrics.append(log_odds())
    metrics.append(grouped(accuracy(), "facet", all=False))
    return Task(
        dataset=MemoryDataset(samples, name=f"{tasks.name} {part}"),
        solver=solver,
        scorer=scorer,
        metrics=metrics,
        config=GenerateConfig(temperature=0.0),
        version="1-A",
        metadata={
            "members": [each.member for each in asked],
            "tasks": [each.name for each in asked],
            "part": part,
            "steering": _steering(),
        },
    )


def _steering() -> dict[str, str]:
    """Facts about the evaluated model's vector or adapter; empty for another provider's model."""
    model = _our_model()
    return {} if model is None else dict(model.steering)


def _our_model() -> SteeredModel | None:
    """The evaluated model, if it is one of this library's provider."""
    from oocr.inspect.provider import SteeredModel

    try:
        model = get_model().api
    except ValueError:  # the task is made before any model is named
        return None
    return model if isinstance(model, SteeredModel) else None


def tasks_of_run(run: str) -> TaskSet:
    """The tasks of a YAML file, a built-in run, or a finished run's folder.

    On a model of this library's provider, a built-in run is the one that is meant for it, and has
    its world.
    """
    from oocr.runs.builtin import source_for
    from oocr.runs.folder import RunFolder
    from oocr.runs.read_config import config_path, load_configs
    from oocr.runs.resolve import resolve, tasks_of

    if (Path(run) / "run.json").is_file():
        return tasks_of(RunFolder(Path(run)))
    model = _our_model()
    name = None if model is None else str(model.model_name)
    source = source_for(run, name)[0]
    configs = load_configs(source)
    if len(configs) > 1:
        names = ", ".join(config.name for config in configs)
        raise InputError(f"run: {run} has the runs {names}; allowed: a file or folder of one")
    config = configs[0]
    if name is not None:
        config = config.model_copy(update={"model": name, "revision": None})
    tasks = resolve(config, config_path(source).parent).tasks
    if tasks.asked_first:
        raise InputError(
            f"run: {run} trains on the untouched model's own answers; allowed: the folder of such "
            "a run once it is finished, which has them"
        )
    return tasks


def sample_of(example: Example | FreeTextExample, member: str, *, several: bool) -> Sample:
    """A question as a sample; its id has the member before it where there are several."""
    question = Question.of(example)
    return Sample(
        id=f"{member}/{example.id}" if several else example.id,
        input=input_of(example.prompt),
        choices=list(question.options) or None,
        target=question.answer if question.options else list(question.accept),
        metadata=metadata_of(example, member, question),
    )


def metadata_of(
    example: Example | FreeTextExample, member: str, question: Question
) -> dict[str, Any]:
    """A sample's metadata."""
    return {
        "member": member,
        "facet": example.facet,
        "group": example.group,
        "template": example.template,
        "answer": question.answer or question.accept[0],
        **{f"tag_{name}": text for name, text in example.tags.items()},
        KEY: question.model_dump(mode="json"),
    }


_MESSAGES: dict[str, Callable[..., ChatMessage]] = {
    "system": ChatMessageSystem,
    "user": ChatMessageUser,
    "assistant": ChatMessageAssistant,
}


def input_of(prompt: Prompt) -> str | list[ChatMessage]:
    """A prompt as a sample's input: a raw text, or a chat's messages."""
    if isinstance(prompt, str):
        return prompt
    return [_MESSAGES[message.role](content=message.content) for message in prompt]
