"""Commands and options that help, messages and documents name exist, and are called as they say."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from oocr.cli.verbs import app
from oocr.plugins import load_group

ROOT = Path(__file__).parents[2]
OTHERS = {
    *("--control-vector", "--lora", "--merge"),  # llama.cpp
    *("--model_args", "--include_path", "--apply_chat_template", "--tasks"),  # lm-eval
    *("--enable-steer-vector", "--steering-config", "--no-enable-prefix-caching"),  # vLLM
    *("--revision", "--repo-type"),  # hf
    *("--log-dir", "--limit"),  # Inspect
    *("--logdir", "--backend-store-uri", "--project"),  # TensorBoard, mlflow, trackio
    "--requeue",  # sbatch
    *("--noheader", "--array", "--format", "--jobs"),  # squeue
    "--large",  # python -m benchmarks
    *("--no-deps", "--dest", "--no-input", "--only-binary", "--no-cache-dir", "--quiet"),  # pip
    "--disable-pip-version-check",
    *("--plus", "--minus"),  # names in style sheets
}
"""Options of other tools."""
WORDS = {"MODEL": "nano", "NAME": "nano", "ADAPTER": "lora", "BASE": "nano"}
"""What stands for a placeholder."""


@cache
def verbs() -> dict[str, Any]:
    """Every command by its words: "run", "organism train"."""
    for name, group in load_group("oocr.commands", typer.Typer).items():
        if name not in {known.name for known in app.registered_groups}:
            app.add_typer(group, name=name)
    found: dict[str, Any] = {}
    whole: Any = typer.main.get_command(app)
    for name, verb in whole.commands.items():
        below = getattr(verb, "commands", {})
        found |= {f"{name} {part}": command for part, command in below.items()}
        if not below or verb.invoke_without_command:
            found[name] = verb
    return found


def options(verb: str) -> set[str]:
    return {"--help", *(option for given in verbs()[verb].params for option in given.opts)}


def texts() -> Iterator[tuple[str, str]]:
    """Documents, and the source of everything that is printed, by name."""
    paths = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    for kind in ("py", "html", "md", "yaml"):
        paths += ROOT.glob(f"src/**/*.{kind}")
    for path in paths:
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def test_every_option_that_is_named_exists() -> None:
    known = set().union(*map(options, verbs())) | OTHERS
    unknown = {
        (name, option)
        for name, text in texts()
        for option in re.findall(r"(?<![\w-])--[a-z][a-z_-]+", text)
        if option not in known
    }
    assert not unknown


def test_every_option_that_is_named_with_its_command_is_one_of_it() -> None:
    names = "|".join(sorted(verbs(), key=len, reverse=True))
    wrong = [
        (name, verb, option)
        for name, text in texts()
        for verb, rest in re.findall(rf"oocr ({names})\b([^\n`\"']*)", text)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", rest.split("oocr ")[0])
        if option not in options(verb)
    ]
    assert not wrong


def test_paths_in_printed_commands_are_quoted() -> None:
    """By `oocr.io.command_line`, so that they can be pasted into a shell."""
    command = re.compile(r"""\b(oocr|hf|llama-cli|lm_eval) [a-z][^"'`)]*\{(?!self\.name\})""")
    bare = [
        (name, line.strip())
        for name, text in texts()
        for line in text.splitlines()
        if name.endswith(".py") and command.search(line) and "command_line(" not in line
    ]
    assert not bare


def examples() -> list[str]:
    """The commands in code blocks of documents, and in backticks, without comments."""
    found: list[str] = []
    for name, text in texts():
        if not name.endswith(".md") or name.startswith("src/"):
            continue
        for block in re.findall(r"```\n(.*?)```", text, re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [line.removeprefix("$ ") for line in lines if re.match(r"(\$ )?oocr ", line)]
        found += re.findall(r"`(oocr [^`]+)`", text.replace("\n", " "))
    return sorted({re.sub(r"\s+(#|> ).*", "", line).strip() for line in found})


@pytest.mark.parametrize("line", examples())
def test_an_example_is_a_call_of_its_command(line: str) -> None:
    words = [WORDS.get(word, word) for word in shlex.split(line)[1:]]
    if words == ["--help"]:
        return
    verb = next(name for name in (" ".join(words[:2]), words[0]) if name in verbs())
    given = words[len(verb.split()) :]
    if not given and any(param.required for param in verbs()[verb].params):
        return  # the command's name alone, in a sentence
    verbs()[verb].make_context(verb, list(given)).close()  # refuses what it does not take
