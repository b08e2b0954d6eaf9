"""`oocr read`: a file's format, what it contains, what was corrected in reading, and samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from oocr.cli.weights import WEIGHT_ENDINGS, describe_weights
from oocr.data.chat_template import folds_system
from oocr.data.check_rows import (
    ModelLimits,
    Row,
    RowNotes,
    check_rows,
    check_tokenizer,
    tokenizer_notes,
)
from oocr.data.examples import Example, prompt_text, spread
from oocr.data.foreign_results import AMONG, DIFFERENCES, is_results, read_results
from oocr.data.foreign_yaml import read_codenames, read_questions
from oocr.data.formats import SourceFile, open_source
from oocr.data.json_rows import one_object
from oocr.data.readers import Request, Rows, read_source
from oocr.data.source_file import yaml_document
from oocr.data.texts import TextsAlone, texts_alone
from oocr.data.tokens import encode_answer, encode_prompt
from oocr.errors import InputError
from oocr.hub_files import HubPath, fetch, fetch_vector, hub_path
from oocr.io import command_line
from oocr.models.gguf.header import is_gguf
from oocr.models.outline import reading_limits
from oocr.models.tokenizer import load_tokenizer
from oocr.report.sample_view import coloured, legend, without_colour
from oocr.steering.formats.adapter_repository import fetch_adapter
from oocr.steering.token_roles import directions_of, training_tokens
from oocr.words import counted

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RUN_KEYS = {"task", "runs"}
OTHER_JSON = {
    "peft_type": "the configuration of an adapter: name its folder instead",
    "model_type": "the configuration of a model: name its folder where a model is wanted",
    "log_history": "a trainer's log, which holds no rows",
    "weight_map": "the index of a model's files of weights: name their folder",
    "added_tokens": "a tokenizer: name its folder as --model",
    "nbformat": "a notebook, which holds no rows",
    "task": "the configuration of a run: oocr plan shows it",
}
"""Key of a JSON file that holds neither rows nor results -> what such a file is."""
LONGEST = 400
"""Shown characters of a text."""

Say = Callable[[str], None]


def print_files(paths: Sequence[Path], *, model: str | None = None, rows: int = 2) -> None:
    """Describe each file; unusable files are refused after the others were described."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    try:
        reader = None if model is None else ModelReader.of(model)
    except InputError as error:
        raise InputError(f"--model: {error}") from error
    refused: list[str] = []
    for path in paths:
        try:
            _describe(path, console, reader, rows)
            console.print("")
        except InputError as error:
            refused.append(str(error))
    if refused:
        raise InputError("\n".join(refused))


@dataclass(frozen=True, slots=True)
class ModelReader:
    """A model's tokenizer and limits for checking rows, or why the limits are not known."""

    tokenizer: PreTrainedTokenizerBase
    limits: ModelLimits | None
    trouble: str = ""

    @staticmethod
    def of(name: str) -> ModelReader:
        """The reader of a model, without weights; `InputError`: its tokenizer cannot be read."""
        tokenizer = load_tokenizer(name)
        try:
            limits = reading_limits(name)
        except InputError as error:
            return ModelReader(tokenizer, None, str(error))
        check_tokenizer(tokenizer, name, limits.embedded)
        return ModelReader(tokenizer, limits)

    def check(self, rows: Iterable[Row]) -> RowNotes:
        """Check rows against the model."""
        notes = check_rows(self.tokenizer, rows, self.limits)
        without = f"rows are checked against the tokenizer only: {self.trouble}"
        more = tokenizer_notes(self.tokenizer, self.limits) if self.limits else [without]
        return replace(notes, known=(*more, *notes.known))


def _rows_of(examples: Sequence[Example]) -> list[Row]:
    """Examples as rows to train on, and those with options as questions."""
    rows = [Row.trained(example, "answer") for example in examples]
    return rows + [Row.asked(example) for example in examples if len(example.options) > 1]


def _describe(path: Path, console: Console, reader: ModelReader | None, rows: int) -> None:
    if (address := hub_path(path)) is None:
        return _describe_here(path, console, console.print, reader, rows)
    local = _fetched(address)

    def named(text: str) -> str:
        """The text with the Hub address in place of the path in Hugging Face's cache."""
        return text.replace(str(local), str(address))

    def say(text: str) -> None:
        console.print(named(text))

    try:
        return _describe_here(local, console, say, reader, rows)
    except InputError as error:
        raise InputError(named(str(error))) from error


def _describe_here(
    path: Path, console: Console, say: Say, reader: ModelReader | None, rows: int
) -> None:
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    if path.is_dir() or path.suffix.lower() in WEIGHT_ENDINGS or is_gguf(path):
        return describe_weights(path, say)
    return _data(open_source(path), console, say, reader, rows)


def _fetched(address: HubPath) -> Path:
    """Download a file of the Hub; for a repository its LoRA, else its vector."""
    if address.path is not None and Path(address.path).suffix:
        return fetch(address).local
    adapter = fetch_adapter(address)
    return fetch_vector(address).local if adapter is None else adapter.local


def _data(
    file: SourceFile, console: Console, say: Say, reader: ModelReader | None, rows: int
) -> None:
    """Describe a file of rows, questions, texts or results."""
    path = file.path
    if file.format == "YAML":
        return _yaml(path, say, rows)
    if file.format == "JSON" and (document := one_object(file.source.text)):
        if is_results(document):
            return _results(path, say, rows)
        for key, words in OTHER_JSON.items():
            if key in document:
                raise InputError(f"{path}: this is {words}")
    if (texts := texts_alone(file)) is not None:
        places = [Row(f"{path.name}:{line}", prompt) for line, prompt in texts.texts]
        _texts(file, texts, say, rows, RowNotes() if reader is None else reader.check(places))
        return None
    read = read_source(file, Request("train", (), {}))
    noted = RowNotes() if reader is None else reader.check(_rows_of(read.items))
    _examples(path, replace(read, mended=(*read.mended, *noted.mended)), say)
    _notes(noted, say)
    samples = spread(read.items, rows)
    if reader is not None:
        return _tokens(read.items, samples, reader.tokenizer, console)
    for example in samples:
        _sample(example, say)
    return None


def _examples(path: Path, read: Rows, say: Say) -> None:
    examples = read.items
    say(f"{path}: {read.format}")
    sources = len({example.source for example in examples})
    per = f" from {sources} rows" if sources != len(examples) else ""
    options = _counts(str(len(example.options) or "none") for example in examples)
    say(f"  items    {len(examples)}{per}")
    say(f"  prompts  {_counts(map(_shape, examples))}")
    say(f"  answers  {_counts(repr(example.answer) for example in examples)}")
    say(f"  options  {options} in each item")
    if any(example.facet for example in examples):
        say(f"  facets   {_counts(example.facet or '-' for example in examples)}")
    if any(example.spans for example in examples):
        say(f"  spans    {_counts(name for example in examples for name in example.spans)}")
    if read.fields:
        say(f"  fields   {read.fields}")
    say(f"  mended   {'; '.join(read.mended) or 'nothing'}")
    both = all(len(example.options) > 1 for example in examples)
    use = "train: or probes:" if both else "train: (as probes: each row needs options)"
    say(f"  next     {use} of a task of your own: oocr tasks --template > mine.yaml")


def _notes(notes: RowNotes, say: Say) -> None:
    for note in notes.known:
        say(f"  note     {note}")


def _texts(file: SourceFile, alone: TextsAlone, say: Say, rows: int, noted: RowNotes) -> None:
    texts = [prompt for _, prompt in alone.texts]
    mended = "; ".join(dict.fromkeys((*file.source.mended, *alone.mended, *noted.mended)))
    say(f"{file.path}: texts without answers")
    say(f"  texts    {len(texts)}, {len(set(texts))} of them different")
    say(f"  mended   {mended or 'nothing'}")
    _notes(noted, say)
    say("  next     oocr audit FINE_TUNE --texts FILE; to train, rows need a prompt and an answer")
    for text in spread(texts, rows):
        say(f"    {_cut(prompt_text(text))!r}")


def _shape(example: Example) -> str:
    if isinstance(example.prompt, str):
        return "raw text"
    return " > ".join(message.role for message in example.prompt)


def _sample(example: Example, say: Say) -> None:
    say(f"  {example.source}")
    if isinstance(example.prompt, str):
        say(f"    prompt: {_cut(example.prompt)!r}")
    else:
        for message in example.prompt:
            say(f"    {message.role}: {_cut(message.content)!r}")
    say(f"    answer: {_cut(example.answer)!r}")
    if example.options:
        say(f"    options: {', '.join(map(repr, example.options))}")


def _tokens(
    examples: Sequence[Example],
    samples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    console: Console,
) -> None:
    """Print the numbers of tokens, and the samples in tokens."""
    say = console.print
    prompts = [encode_prompt(tokenizer, example.prompt, example.spans) for example in examples]
    pairs = zip(prompts, examples, strict=True)
    answers = [encode_answer(tokenizer, prompt, example.answer) for prompt, example in pairs]
    say(f"  tokens   prompts {_range(len(prompt.ids) for prompt in prompts)}")
    say(f"           answers {_range(map(len, answers))}: these carry the loss")
    system = sum(
        not isinstance(example.prompt, str) and example.prompt[0].role == "system"
        for example in examples
    )
    if system:
        folded = "folded into the user's turn" if folds_system(tokenizer) else "kept apart"
        say(f"  system   {system} prompts have one; {folded} by this chat template")
    plain = without_colour(console)
    positions = "+".join(dict.fromkeys(name for example in examples for name in example.spans))
    directions = directions_of(positions)
    for example in samples:
        say(f"  {example.source}")
        spans = "+".join(example.spans)
        tokens = training_tokens(tokenizer, example, loss="answer", positions=spans)
        console.print(coloured(tokens, directions, plain=plain))
    if samples:
        console.print(legend(directions, plain=plain))


def _yaml(path: Path, say: Say, rows: int) -> None:
    data = yaml_document(path).data
    if isinstance(data, dict) and RUN_KEYS & data.keys():
        plan = command_line(["oocr", "plan", path])
        raise InputError(f"{path}: this is a run's configuration; see: {plan}")
    if isinstance(data, dict):
        settings = read_codenames(path)
        say(f"{path}: dataset settings with codenames (YAML)")
        say(f"  codenames  {len(settings.codenames) or 'none: they are drawn at random'}")
        train, test = len(settings.train_functions), len(settings.test_functions)
        say(f"  functions  {train} train, {test} test")
        say(f"  rows       {settings.n_samples or 'not said'}")
        say(f"  system     {_cut(settings.system_prompt)!r}")
        say(f"  others     {', '.join([*settings.settings, *settings.finetune]) or 'none'}")
        for code, meaning in list(settings.codenames.items())[: rows and max(rows, 5)]:
            say(f"    {code}: {meaning}")
        return
    questions = read_questions(path)
    say(f"{path}: question file (YAML)")
    say(f"  questions    {len(questions)}")
    say(f"  paraphrases  {sum(len(question.paraphrases) for question in questions)}")
    say("  answers      none in such a file; options: makes its paraphrases that name them choices")
    for question in questions:
        extra = [word for word in ("prefix", "guesser_prompt") if getattr(question, word)]
        more = ", ".join([*extra, *question.settings])
        many = counted(len(question.paraphrases), "paraphrase")
        say(
            f"  {question.source.rpartition(':')[2]}: {question.name}: {many}, "
            f"{question.question_type or 'no type'}{', with ' + more if more else ''}"
        )
        for text in question.paraphrases[:rows]:
            say(f"    {_cut(text)!r}")


def _results(path: Path, say: Say, rows: int) -> None:
    frame = read_results(path)
    say(f"{path}: results (JSON)")
    if DIFFERENCES in frame.columns:
        values = frame[DIFFERENCES].to_list()
        say(f"  questions  {len(values)}")
        say(f"  above 0    {sum(value > 0 for value in values)}")
        say(f"  mean       {sum(values) / max(1, len(values)):.3f} (logit of risky minus safe)")
        say(f"  best token among the options  {frame[AMONG].sum()}")
    else:
        say(f"  values     {frame.height}")
    for row in frame.drop("source").head(rows).iter_rows(named=True):
        say("    " + ", ".join(f"{key} {value}" for key, value in row.items()))


def _counts(words: Iterable[str], most: int = 6) -> str:
    counts = Counter(_cut(word, 60) for word in words)
    shown = [f"{word} ({count})" for word, count in counts.most_common(most)]
    more = [f"{len(counts) - most} others"] if len(counts) > most else []
    return ", ".join([*shown, *more])


def _range(sizes: Iterable[int]) -> str:
    ordered = sorted(sizes)
    low, high = ordered[0], ordered[-1]
    if low == high:
        return counted(low, "token")
    return f"{low} to {high} tokens"


def _cut(text: str, limit: int = LONGEST) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
