"""What `oocr read` prints: a file's format, what is in it, what was mended, and samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from oocr.data.examples import Example
from oocr.data.readers import CSV_ENDINGS, JSONL_ENDINGS, YAML_ENDINGS, Rows, read_rows
from oocr.errors import InputError
from oocr.tasks.splits import spread

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TENSOR_ENDINGS = (".pt", ".pth", ".bin", ".safetensors", ".gguf")
RUN_KEYS = {"task", "runs"}
LONGEST = 400
"""Characters of a text that are shown."""

Say = Callable[[str], None]


def print_files(paths: Sequence[Path], *, model: str | None = None, rows: int = 2) -> None:
    """Say what each file is and what it holds; files that cannot be used are refused at the end.

    Args:
        paths: files, or adapter folders.
        model: whose tokens the samples are shown in; None: texts only.
        rows: how many samples of each file.

    Raises:
        InputError: some files cannot be used; every one of them is named.
    """
    console = Console(soft_wrap=True)
    tokenizer = None if model is None else _tokenizer(model)
    refused: list[str] = []

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    for path in paths:
        try:
            _one(path, say, console, tokenizer, rows)
            say("")
        except InputError as error:
            refused.append(str(error))
    if refused:
        raise InputError("\n".join(refused))


def _one(
    path: Path,
    say: Say,
    console: Console,
    tokenizer: PreTrainedTokenizerBase | None,
    rows: int,
) -> None:
    ending = path.suffix.lower()
    if path.is_dir() or ending in TENSOR_ENDINGS:
        from oocr.cli.read_weights import describe_weights

        return describe_weights(path, say)
    if ending == ".json":
        return _results(path, say, rows)
    if ending in YAML_ENDINGS:
        return _yaml(path, say, rows)
    if ending not in JSONL_ENDINGS + CSV_ENDINGS:
        known = (*JSONL_ENDINGS, *CSV_ENDINGS, *YAML_ENDINGS, ".json", *TENSOR_ENDINGS)
        raise InputError(
            f"{path}: file ending: found {ending!r}; allowed: {', '.join(known)}, or a folder"
        )
    found = read_rows(path, kind="train")
    _items(path, found, say)
    samples = spread(found.items, rows)
    if tokenizer is None:
        for item in samples:
            _sample(item, say)
    else:
        _tokens(found.items, samples, tokenizer, say, console)
    return None


def _items(path: Path, found: Rows, say: Say) -> None:
    items = found.items
    say(f"{path}: {found.format}")
    sources = len({item.source for item in items})
    per = f" from {sources} rows" if sources != len(items) else ""
    say(f"  items    {len(items)}{per}")
    say(f"  prompts  {_counts(_shape(item) for item in items)}")
    say(f"  answers  {_counts(repr(item.answer) for item in items)}")
    say(f"  options  {_counts(str(len(item.options) or 'none') for item in items)} in each item")
    if any(item.facet for item in items):
        say(f"  facets   {_counts(item.facet or '-' for item in items)}")
    if any(item.spans for item in items):
        say(f"  spans    {_counts(name for item in items for name in item.spans)}")
    say(f"  mended   {'; '.join(found.mended) or 'nothing'}")


def _shape(item: Example) -> str:
    if isinstance(item.prompt, str):
        return "raw text"
    return " > ".join(message.role for message in item.prompt)


def _sample(item: Example, say: Say) -> None:
    say(f"  {item.source}")
    if isinstance(item.prompt, str):
        say(f"    prompt: {_cut(item.prompt)!r}")
    else:
        for message in item.prompt:
            say(f"    {message.role}: {_cut(message.content)!r}")
    say(f"    answer: {_cut(item.answer)!r}")
    if item.options:
        say(f"    options: {', '.join(map(repr, item.options))}")


def _tokens(
    items: Sequence[Example],
    samples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    say: Say,
    console: Console,
) -> None:
    """The samples' tokens; every item is encoded, so that none would be refused later."""
    from oocr.data.tokens import encode_answer, encode_prompt, folds_system
    from oocr.report.marked import coloured, legend, without_colour
    from oocr.steering.marked import directions_of, training_tokens

    prompts = [encode_prompt(tokenizer, item.prompt, item.spans) for item in items]
    answers = [
        encode_answer(tokenizer, prompt, item.answer)
        for prompt, item in zip(prompts, items, strict=True)
    ]
    say(f"  tokens   prompts {_range(len(one.ids) for one in prompts)}")
    say(f"           answers {_range(map(len, answers))}: these carry the loss")
    system = sum(not isinstance(i.prompt, str) and i.prompt[0].role == "system" for i in items)
    if system:
        folded = "folded into the user's turn" if folds_system(tokenizer) else "kept apart"
        say(f"  system   {system} prompts have one; {folded} by this chat template")
    plain = without_colour(console)
    positions = "+".join(dict.fromkeys(name for item in items for name in item.spans))
    directions = directions_of(positions)
    for item in samples:
        say(f"  {item.source}")
        tokens = training_tokens(tokenizer, item, loss="answer", positions="+".join(item.spans))
        console.print(coloured(tokens, directions, plain=plain))
    if samples:
        console.print(legend(directions, plain=plain))


def _yaml(path: Path, say: Say, rows: int) -> None:
    from oocr.data.foreign_yaml import read_codenames, read_questions
    from oocr.data.yaml_file import yaml_document

    data = yaml_document(path).data
    if isinstance(data, dict) and RUN_KEYS & data.keys():
        raise InputError(f"{path}: this is a run's configuration; see `oocr plan {path}`")
    if isinstance(data, dict):
        said = read_codenames(path)
        say(f"{path}: dataset settings with codenames (YAML)")
        say(f"  codenames  {len(said.codenames) or 'none: they are drawn at random'}")
        say(f"  functions  {len(said.train_functions)} train, {len(said.test_functions)} test")
        say(f"  rows       {said.n_samples or 'not said'}")
        say(f"  system     {_cut(said.system_prompt)!r}")
        say(f"  others     {', '.join([*said.settings, *said.finetune]) or 'none'}")
        for code, meaning in list(said.codenames.items())[: rows and max(rows, 5)]:
            say(f"    {code}: {meaning}")
        return
    sets = read_questions(path)
    total = sum(len(one.paraphrases) for one in sets)
    say(f"{path}: question file (YAML)")
    say(f"  questions    {len(sets)}")
    say(f"  paraphrases  {total}")
    say("  answers      none in such a file; options: makes its paraphrases that name them choices")
    for one in sets:
        extra = [word for word in ("prefix", "guesser_prompt") if getattr(one, word)]
        more = ", ".join([*extra, *one.settings])
        say(
            f"  {one.source.rpartition(':')[2]}: {one.name}: {len(one.paraphrases)} paraphrases, "
            f"{one.question_type or 'no type'}{', with ' + more if more else ''}"
        )
        for text in one.paraphrases[:rows]:
            say(f"    {_cut(text)!r}")


def _results(path: Path, say: Say, rows: int) -> None:
    from oocr.data.foreign_results import AMONG, DIFFERENCES, read_results

    frame = read_results(path)
    say(f"{path}: results (JSON)")
    if DIFFERENCES in frame.columns:
        values = frame[DIFFERENCES].to_list()
        say(f"  questions  {len(values)}")
        say(f"  above 0    {sum(one > 0 for one in values)}")
        say(f"  mean       {sum(values) / max(1, len(values)):.3f} (logit of risky minus safe)")
        say(f"  best token among the options  {frame[AMONG].sum()}")
    else:
        say(f"  values     {frame.height}")
    for row in frame.drop("source").head(rows).iter_rows(named=True):
        say("    " + ", ".join(f"{key} {value}" for key, value in row.items()))


def _tokenizer(model: str) -> PreTrainedTokenizerBase:
    from oocr.models.outline import outline

    found = outline(model)
    if not found.counted:
        raise InputError(f"--model: found {model!r}; its tokenizer is not here")
    tokenizer: PreTrainedTokenizerBase = found.tokenizer
    return tokenizer


def _counts(words: Iterable[str], most: int = 6) -> str:
    counts = Counter(_cut(word, 60) for word in words)
    told = [f"{word} ({count})" for word, count in counts.most_common(most)]
    more = [f"{len(counts) - most} others"] if len(counts) > most else []
    return ", ".join([*told, *more])


def _range(sizes: Iterable[int]) -> str:
    found = sorted(sizes)
    if found[0] == found[-1]:
        return f"{found[0]} token{'s' * (found[0] > 1)}"
    return f"{found[0]} to {found[-1]} tokens"


def _cut(text: str, limit: int = LONGEST) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
