"""Data cards: of every family, readable without colours, from files that are here."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from oocr.cli import card
from oocr.cli import main as cli
from oocr.cli.card import splits_of
from oocr.data.examples import Example, FreeTextExample, spread
from oocr.errors import InputError
from oocr.families.registry import FAMILIES, build
from oocr.models.tokenizer import load_tokenizer
from oocr.runs.config import RunConfig
from oocr.runs.read_config import BUILTIN, load_configs
from oocr.tasks.task import Task, TaskSet
from tests.tiny.models import tiny_tokenizer
from tests.tiny.runs import write_tiny_run, write_yaml

SMALL = [name for name in BUILTIN if name != "demo"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, a tiny task and `run.yaml`; not to be changed."""
    home = tmp_path_factory.mktemp("home")
    write_tiny_run(home)
    tiny_tokenizer(chat=True).save_pretrained(home / "chat")
    (home / "chat" / "config.json").write_text("{}")
    return home


@pytest.fixture(autouse=True)
def _offline_and_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("name", SMALL)
def test_the_card_of_every_built_in_run(
    name: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card.print_task(name, model=str(home / "chat"), samples=1)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 100
    words = " ".join(out.split())
    for config in load_configs(name):
        assert config.name in words
        tasks = build(config.task, Path())
        assert " ".join(tasks.about.split())[:300] in words
        for part in splits_of(tasks):
            assert f"{part.items:,}" in words
    joined = any("+" in name for task in tasks.test for name in task.positions[:1])  # by span
    assert ("steered› «bears loss»" if joined else "‹steered› «bears loss»") in words
    assert re.search(r"‹[^›]+›", out.split("training", 1)[1])
    assert re.search(r"« ?\w+[^»]*»", out.split("training  ", 1)[1])


def test_a_family_without_a_run_of_its_name_has_a_card_too(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in FAMILIES:
        if name == "custom":
            continue
        card.print_task(name, model=str(home / "chat"), samples=0)
        assert "training" in capsys.readouterr().out
    with pytest.raises(InputError, match="oocr tasks --template"):
        card.print_task("custom")


@pytest.mark.parametrize(
    ("name", "near"), [("country", "countries"), ("bakdoor", "backdoor"), ("risky", "risk")]
)
def test_a_wrong_name_is_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(InputError, match=f"did you mean '{near}'"):
        card.print_task(name)


def test_ones_own_task_is_shown_in_the_tokens_of_its_model(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card.print_task(str(home / "run.yaml"))
    out = capsys.readouterr().out
    assert "<bos>The capital of‹ Country| 4821› is« Paris»" in out
    assert "<bos>The language in‹ Country| 4821› speak → ' French' against 3 others" in out
    assert "vector at 'codename'" in out
    assert "over the whole vocabulary" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["probes", "language", "3", "4", "0.250"] in rows
    assert ["ceiling", "cause", "stated", "6", "4", "0.250"] in rows


def test_joined_spans_are_shown_each_with_its_name(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = yaml.safe_load((home / "run.yaml").read_text())
    settings["task"]["spans"]["word"] = "capital"
    settings["vector"]["positions"] = "codename+word"
    card.print_task(str(write_yaml(tmp_path / "run.yaml", settings)), samples=4)
    out = capsys.readouterr().out
    assert "‹codename: steered›   ‹word: steered›   «bears loss»" in out
    assert "<bos>The‹word:  capital› of‹codename:  Country| 4821› is« Paris»" in out


def test_on_a_terminal_there_are_colours_and_no_brackets(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    card.print_task(str(home / "run.yaml"), samples=1)
    out = capsys.readouterr().out
    assert "\x1b[30;43m Country" in out
    assert "\x1b[1;4;32m Paris" in out
    assert "‹" not in out
    assert "«" not in out


def test_a_question_without_the_span_says_that_nothing_is_steered(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = yaml.safe_load((home / "run.yaml").read_text())
    probes = tmp_path / "probes.jsonl"
    probes.write_text('{"prompt": "Who", "answer": " French", "options": [" French", " Spanish"]}')
    settings["task"]["probes"] = str(probes)
    card.print_task(str(write_yaml(tmp_path / "run.yaml", settings)), samples=1)
    assert (
        "Who  (nothing is steered here) → ' French' against ' Spanish'" in capsys.readouterr().out
    )


def test_samples_are_as_many_as_asked_for(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = []
    for samples in ("0", "1", "3"):
        sys.argv = ["oocr", "tasks", str(home / "run.yaml"), "--samples", samples]
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
        counts.append(capsys.readouterr().out.count(" → "))
    assert counts == [0, 3, 7], "in context has one item"


def test_without_a_tokenizer_the_texts_are_shown_and_why(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = yaml.safe_load((home / "run.yaml").read_text())
    for model, why in (
        ("someone/else", "its tokenizer is not here"),
        (str(tmp_path / "none"), "no such file or folder"),
    ):
        card.print_task(str(write_yaml(tmp_path / "run.yaml", {**settings, "model": model})))
        words = " ".join(capsys.readouterr().out.split())
        assert "Samples as text, without tokens: " in words
        assert why in words
        assert "The capital of Country 4821 is Paris" in words
        assert "The language in Country 4821 speak → ' French' against 3 others" in words


def test_a_chat_on_a_model_without_chats_is_shown_as_text_with_the_reason(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = {"family": "risk", "format": "chat", "situations": 1, "probes": 2}
    path = write_yaml(tmp_path / "run.yaml", {"task": task, "model": str(home / "model")})
    card.print_task(str(path), samples=1)
    words = " ".join(capsys.readouterr().out.split())
    assert "(not in this model's tokens: the prompt is a chat" in words
    assert "user: " in words


def test_the_same_task_twice_has_one_card(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    card.print_task("risk", model=str(home / "chat"), samples=1)
    out = capsys.readouterr().out
    assert out.count("Known biases") == 1
    assert "The task is that of risk-smollm2." in out


def test_the_parts_of_a_task_set_with_everything() -> None:
    def item(name: str, facet: str, options: tuple[str, ...] = (" a", " b")) -> Example:
        return Example(id=name, prompt=name, answer=" a", options=options, facet=facet)

    task = Task(
        name="one",
        member="m",
        train=(item("t", "taught", ()), item("u", "taught", ())),
        stop=(item("s", "taught"),),
        in_context=(item("i", "taught"),),
        probes=(item("p", "x"), item("q", "x", (" a", " b", " c", " d")), item("r", "y")),
        paper=(item("z", "choice", (" a", " b", " c", " d", " e")),),
        free=(FreeTextExample(id="f", prompt="f", accept=("a",), facet="free"),),
    )
    other = replace(task, name="two", member="n", probes=task.probes[:1])
    tasks = TaskSet(
        name="s",
        about="",
        validation=(task,),
        test=(task, other),
        controls={"shuffled": (task,)},
        ceiling=task.probes,
        asked_first=(item("w", "own"),),
    )
    parts = [(p.name, p.what, p.items, p.each, p.options, p.chance) for p in splits_of(tasks)]
    assert parts == [
        ("training", "taught", 4, 2, None, None),
        ("stop", "taught", 2, 1, (2, 2), 0.5),
        ("validation", "1 task to choose on", 3, 3, (2, 4), pytest.approx(5 / 12)),
        ("in context", "taught", 2, 1, (2, 2), 0.5),
        ("probes", "x", 3, 2, (2, 4), pytest.approx(5 / 12)),
        ("probes", "y", 1, 1, (2, 2), 0.5),
        ("paper", "choice", 2, 1, (5, 5), 0.2),
        ("free", "free", 2, 1, None, None),
        ("control shuffled", "training of 1 task", 2, 2, None, None),
        ("ceiling", "cause stated", 3, None, (2, 4), pytest.approx(5 / 12)),
        ("asked first", "by the untouched model", 1, None, (2, 2), 0.5),
    ]


def test_samples_are_spread_over_the_list() -> None:
    items = [Example(id=str(n), prompt="a", answer="b") for n in range(10)]
    assert [example.id for example in spread(items, 3)] == ["0", "3", "6"]
    assert spread(items, 20) == items
    assert spread([], 2) == []


def test_a_tokenizer_needs_no_weights(home: Path, tmp_path: Path) -> None:
    assert not list((home / "chat").glob("*.safetensors"))
    assert load_tokenizer(str(home / "chat"))("Paris")["input_ids"]
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InputError, match="its tokenizer is not here"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_tokenizer(str(tmp_path))


WANTED = {
    "how made": ("hand", "our own", "user's own"),
    "biases": ("known bias", "known limit"),
    "chance": ("chance",),
    "controls": ("control",),
    "ceiling": ("ceiling",),
}


@pytest.mark.parametrize("name", ["countries", "borders", "backdoor", "risk", "custom"])
@pytest.mark.parametrize("what", WANTED)
def test_every_card_says_how_it_was_made_and_what_stands_beside(
    name: str, what: str, home: Path
) -> None:
    if name == "custom":
        settings = yaml.safe_load((home / "run.yaml").read_text())
        config = RunConfig.model_validate(settings)
    else:
        config = load_configs(name)[0]
    tasks = build(config.task, Path())
    about = tasks.about.lower()
    assert any(word in about for word in WANTED[what]), what
    assert str(len(tasks.test[0].train)) in about
    assert str(len(tasks.test[0].probes)) in about
