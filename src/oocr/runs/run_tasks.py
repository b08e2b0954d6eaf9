"""The tasks of a finished run, built again from its configuration."""

from __future__ import annotations

from oocr.errors import InputError
from oocr.runs.folder import RunFolder
from oocr.runs.resolve import FILE, OwnAnswers, resolve, with_answers
from oocr.tasks.task import TaskSet


def tasks_of(run: RunFolder) -> TaskSet:
    """The run's tasks, with the untouched model's own answers where it trained on them.

    InputError: the user's files are gone or changed, or the answers are missing.
    """
    tasks = resolve(run.config, run.folder).tasks
    if not tasks.asked_first:
        return tasks
    path = run.folder / FILE
    try:
        answers = OwnAnswers.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); do the run again") from error
    return with_answers(tasks, answers.places, run.info.model)
