"""YAML files of other projects: `dataset` configurations with codenames, and question files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oocr.data.examples import Example, Message
from oocr.data.source_file import NO_VALUE, Document, Problems, yaml_document

FUNCTIONS = ("train_functions", "test_functions")
TEXTS = ("title", "question_type", "prefix", "guesser_prompt", "guesser_question_type")
PARAPHRASES = "question_paraphrases"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSettings:
    """The data settings of such a configuration.

    Attributes:
        codenames: codename -> what it stands for ("noadgc" -> "affine_3x_2"), both as texts;
            empty in templates, whose names are drawn at random.
        train_functions, test_functions: ids that also occur in chains and sums, or only alone.
        settings: the other keys of `dataset`, as they are; `finetune`: that part, as it is.
    """

    codenames: Mapping[str, str]
    system_prompt: str
    train_functions: tuple[str, ...]
    test_functions: tuple[str, ...]
    n_samples: int | None
    settings: Mapping[str, Any]
    finetune: Mapping[str, Any]


def read_codenames(path: str | Path) -> DatasetSettings:
    """Read a configuration with a `dataset` part.

    Raises:
        InputError: not such a file; every wrong key is named with its line.
    """
    document = yaml_document(Path(path))
    problems = Problems(Path(path))
    data = document.data if isinstance(document.data, dict) else {}
    dataset = data.get("dataset", NO_VALUE)
    if not isinstance(dataset, dict):
        problems.add(document.line("dataset"), "dataset", dataset, "keys and values (var_dict: …)")
        problems.raise_if_any()
        dataset = {}
    dataset = {key: value for key, value in dataset.items() if value is not None}  # null: not said

    def wrong(key: str, seen: object, allowed: str, *more: str | int) -> None:
        name = ".".join(["dataset", key, *map(str, more)])
        problems.add(document.line("dataset", key, *more), name, seen, allowed)

    codenames: dict[str, str] = {}
    given = dataset.get("var_dict", {})
    if not isinstance(given, dict):
        wrong("var_dict", given, "codename: what it stands for")
        given = {}
    for code, meaning in given.items():
        if not _plain(code) or not _plain(meaning):
            wrong("var_dict", meaning, "a text or a whole number for each codename", str(code))
        elif str(code) in codenames:  # 12 and '12'
            wrong("var_dict", code, "each codename once", str(code))
        else:
            codenames[str(code)] = str(meaning)
    for key in FUNCTIONS:
        ids = dataset.get(key, [])
        if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
            wrong(key, ids, "a list of function ids")
    prompt, samples = dataset.get("system_prompt", ""), dataset.get("n_samples", 1)
    if not isinstance(prompt, str):
        wrong("system_prompt", prompt, "a text")
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        wrong("n_samples", samples, "a whole number above 0")
    finetune = data.get("finetune") or {}
    if not isinstance(finetune, dict):
        problems.add(document.line("finetune"), "finetune", finetune, "keys and values")
    problems.raise_if_any()
    known = ("var_dict", "system_prompt", "n_samples", *FUNCTIONS)
    return DatasetSettings(
        codenames=codenames,
        system_prompt=prompt,
        train_functions=tuple(dataset.get("train_functions", ())),
        test_functions=tuple(dataset.get("test_functions", ())),
        n_samples=dataset.get("n_samples"),
        settings={str(key): value for key, value in dataset.items() if key not in known},
        finetune=finetune,
    )


def _plain(value: object) -> bool:
    text = isinstance(value, str) and bool(value.strip())
    return text or (isinstance(value, int) and not isinstance(value, bool))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionSet:
    """One question of a question file, in all its paraphrases.

    Such files hold no right answers: a judge, or a second question (`guesser_prompt`, with
    `{text}` for the model's answer), turns answers into scores. `prefix` stands before each
    paraphrase in the user's turn; `settings` are the entry's other keys; `source` is its file and
    line; `lines` are those of the paraphrases.
    """

    name: str
    paraphrases: tuple[str, ...]
    question_type: str = ""
    prefix: str = ""
    guesser_prompt: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    source: str
    lines: tuple[int, ...]

    @property
    def prompts(self) -> tuple[tuple[Message, ...], ...]:
        """Each paraphrase as a chat of one user's turn, the prefix before it."""
        return tuple((Message("user", self.prefix + text),) for text in self.paraphrases)

    def choices(self, options: Sequence[str]) -> tuple[Example, ...]:
        """The paraphrases that ask for one of these options, as choices between them.

        A paraphrase does if every option stands in it between quotation marks, as in "either
        'safety' or 'risk'". Which answer the training is after is not in the file: it is the
        first of `options`.
        """
        return tuple(
            Example(
                id=f"{self.name}:{number}",
                prompt=prompt,
                answer=options[0],
                options=tuple(options),
                facet=self.name,
                group=self.name,
                template=f"{self.name}:{number}",
                source=f"{self.source.rpartition(':')[0]}:{self.lines[number]}",
            )
            for number, (text, prompt) in enumerate(
                zip(self.paraphrases, self.prompts, strict=True)
            )
            if len(options) > 1
            and all(re.search(rf"['\"‘“]{re.escape(option)}['\"’”]", text) for option in options)
        )


def read_questions(path: str | Path) -> tuple[QuestionSet, ...]:
    """Read a question file.

    Each entry needs `name` and `question_paraphrases` (a list of texts); `title`, `question_type`,
    `prefix`, `guesser_prompt` and `guesser_question_type` are texts; other keys are kept.

    Raises:
        InputError: not such a file; every wrong entry is named with its line.
    """
    path = Path(path)
    document, problems = yaml_document(path), Problems(path)
    entries = document.data
    if not isinstance(entries, list) or not entries:
        problems.add(1, "file", entries, "a list of questions (- name: …)")
        entries = []
    questions: dict[str, QuestionSet] = {}
    for index, entry in enumerate(entries):
        question = _question(path.name, document, index, entry, problems)
        if question is None:
            continue
        if first := questions.get(question.name):
            allowed = f"each name once; line {first.source.rpartition(':')[2]} has it too"
            problems.add(document.line(index), "name", question.name, allowed)
        questions.setdefault(question.name, question)
    problems.raise_if_any()
    return tuple(questions.values())


def _question(
    file: str, document: Document, index: int, entry: object, problems: Problems
) -> QuestionSet | None:
    """An entry of the file, or None after at least one problem was noted."""
    if not isinstance(entry, dict):
        problems.add(document.line(index), "question", entry, "keys and values (name: …)")
        return None
    before = len(problems.lines)
    entry = {key: value for key, value in entry.items() if value is not None}
    for key in ("name", *TEXTS):
        value = entry.get(key, NO_VALUE if key == "name" else "")
        if not isinstance(value, str) or (key == "name" and not value.strip()):
            problems.add(document.line(index, key), key, value, "a text")
    paraphrases = entry.get(PARAPHRASES, NO_VALUE)
    if not isinstance(paraphrases, list) or not paraphrases:
        problems.add(document.line(index, PARAPHRASES), PARAPHRASES, paraphrases, "a list of texts")
        return None
    lines = [document.line(index, PARAPHRASES, number) for number in range(len(paraphrases))]
    for number, text in enumerate(paraphrases):
        if not isinstance(text, str) or not text.strip():
            hint = " (put it in quotes)" if isinstance(text, dict | bool) else ""
            problems.add(lines[number], f"{PARAPHRASES}[{number}]", text, f"a text{hint}")
    if len(problems.lines) > before:
        return None
    known = ("name", PARAPHRASES, *TEXTS)
    return QuestionSet(
        name=entry["name"],
        paraphrases=tuple(paraphrases),
        question_type=entry.get("question_type", ""),
        prefix=entry.get("prefix", ""),
        guesser_prompt=entry.get("guesser_prompt", ""),
        settings={str(key): value for key, value in entry.items() if key not in known},
        source=f"{file}:{document.line(index)}",
        lines=tuple(lines),
    )
