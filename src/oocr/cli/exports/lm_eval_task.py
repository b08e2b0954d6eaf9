"""A run's out-of-context probes as tasks of lm-evaluation-harness: a YAML and a JSONL each.

lm-eval scores an option by the log-probability of its whole text; oocr scores only the first
tokens, where these differ. A chat prompt stays a chat: its system turn becomes the task's
description, which `lm-eval run --apply_chat_template` puts into the model's own template.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from oocr.data.examples import Example
from oocr.errors import InputError
from oocr.io import command_line, new_folder, write_text
from oocr.models.sources.bundled import folder_of
from oocr.runs.folder import RunFolder
from oocr.runs.resolve import tasks_of
from oocr.tasks.task import Task


def write_lm_eval_tasks(run: RunFolder, out: Path) -> str:
    """Write a task for each reported member into a new folder; returns the command to run them.

    Raises:
        InputError: prompts with earlier answers, or both texts and chats: lm-eval has no such task.
    """
    tasks = [task for task in tasks_of(run).test if task.probes]
    chats = {_is_chat(example) for task in tasks for example in task.probes}
    if not tasks or len(chats) > 1:
        what = "texts and chats" if chats else "no probes"
        raise InputError(f"{run.folder}: found {what}; lm-eval takes tasks of one kind of prompt")
    tag = f"oocr_{_word(run.info.name)}"
    # Full paths, so that the tasks work from any folder.
    place = out.resolve()
    with new_folder(place) as folder:
        for task in tasks:
            name = tag if len(tasks) == 1 else f"{tag}_{_word(task.member)}"
            rows = [json.dumps(_row(task, x), ensure_ascii=False) for x in task.probes]
            write_text(folder / f"{name}.jsonl", "\n".join(rows) + "\n")
            settings = _settings(name, tag, place / f"{name}.jsonl")
            text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
            write_text(folder / f"{name}.yaml", text)
    source = run.info.model_source
    known = [source.get("id"), source.get("origin"), folder_of(run.info.model), run.info.model]
    model = next(str(name) for name in known if name)
    words = ["lm-eval", "run", "--model", "hf", "--model_args", f"pretrained={model}"]
    words += ["--include_path", str(out), "--tasks", tag]
    return command_line([*words, *["--apply_chat_template"] * chats.pop()])


def _settings(name: str, tag: str, rows: Path) -> dict[str, object]:
    """The YAML of a task; no delimiter, since the options begin with their own space."""
    return {
        "task": name,
        **({"tag": tag} if name != tag else {}),
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "description": "{{system}}",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "answer",
        "doc_to_choice": "options",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }


def _row(task: Task, example: Example) -> dict[str, object]:
    system, prompt = "", example.prompt
    if not isinstance(prompt, str):
        roles = tuple(message.role for message in prompt)
        if roles not in (("user",), ("system", "user")):
            raise InputError(
                f"{task.name}: probe {example.id!r} has the turns {', '.join(roles)}; lm-eval's "
                "tasks have one question, with a system text before it or without"
            )
        system, prompt = "".join(x.content for x in prompt[:-1]), prompt[-1].content
    place = example.options.index(example.answer)
    return {
        "id": example.id,
        "system": system,
        "prompt": prompt,
        "options": list(example.options),
        "answer": place,
        "facet": example.facet,
        "group": example.group,
    }


def _is_chat(example: Example) -> bool:
    return not isinstance(example.prompt, str)


def _word(name: str) -> str:
    """The name in lower-case letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "run"
