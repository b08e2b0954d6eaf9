"""All rows are held against the model first, by plan, run, read and audit alike."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import transformers as tf

from oocr.errors import InputError
from oocr.models.load import read_model
from oocr.runs.config import Explain, RunConfig
from oocr.runs.folder import RunFolder, run_folder
from oocr.runs.resolve import resolve
from oocr.runs.stages import PreparedRun
from tests.command_line import Call
from tests.tiny.models import CHAT, tiny_config, tiny_tokenizer
from tests.tiny.runs import Tiny, save_tiny_model, tiny_settings, write_task, write_yaml
from tests.tiny.runs import tiny_config as config_of

CLOCK = "Today Date: {{ strftime_now('%d %b %Y') }}\n" + CHAT


def chats(task: dict[str, Any]) -> dict[str, Any]:
    """The same task, its prompts as a user's turn."""
    for name in ("train", "probes", "in_context", "ceiling"):
        path = Path(task[name])
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["prompt"] = [{"role": "user", "content": row["prompt"]}]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return task


def chat_model(folder: Path, template: str) -> Path:
    save_tiny_model(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """A model whose tokenizer has tokens that it does not embed, and a task with two of them."""
    tokenizer = tiny_tokenizer()
    config = tiny_config("llama")
    config.vocab_size = len(tokenizer)
    tf.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    tokenizer.add_tokens(["<lamp>"])
    tokenizer.save_pretrained(tmp_path / "model")
    task = write_task(tmp_path / "task")
    for name in ("train", "probes"):
        path = Path(task[name])
        path.write_text(path.read_text().replace('"prompt": "', '"prompt": "<lamp> ', 2))
    write_yaml(tmp_path / "run.yaml", tiny_settings(tmp_path / "model", task))
    return tmp_path


def test_every_command_names_the_same_rows_and_computes_nothing(
    grown: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(grown)
    model, train = grown / "model", grown / "task" / "train.jsonl"
    of_run = ["probes.jsonl:1", "probes.jsonl:2", "train.jsonl:1", "train.jsonl:2"]
    commands: dict[tuple[object, ...], list[str]] = {
        ("plan", "run.yaml"): of_run,
        ("run", "run.yaml"): of_run,
        ("read", train, "--model", model): of_run[2:],
        ("audit", model, "--checkpoint", "--model", model, "--texts", train): of_run[2:],
    }
    for words, rows in commands.items():
        code, _, err = call(*words)
        assert code == 2
        found = [line.split(": token: found '<lamp>'")[0] for line in err.splitlines()[1:]]
        assert [place.strip() for place in found] == rows, words
        assert "cannot read these rows" in err
    assert not (grown / "runs").exists()
    assert not list((grown).glob("audits/*"))
    code, out, _ = call("doctor", model)
    assert code == 0
    assert "and not 1 added token" in out


def test_prompts_that_are_continued_need_room_for_new_tokens(tmp_path: Path) -> None:
    config = tiny_config("gpt2")
    config.n_positions = 11  # enough for every row, not for six new tokens
    tf.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    settings = tiny_settings(tmp_path / "model", write_task(tmp_path / "task"), adapter=None)
    run = resolve(RunConfig.model_validate(settings), Path())
    few = run.config.model_copy(update={"explain": Explain(examples=0)})
    assert PreparedRun.of(run._replace(config=few), read_model(tmp_path / "model")).notes == ()
    with pytest.raises(InputError, match=r"tokens: found \d+; allowed: up to 11, the model's"):
        PreparedRun.of(run, read_model(tmp_path / "model"))


def test_the_day_that_a_template_writes_is_one_of_the_settings(tmp_path: Path, tiny: Tiny) -> None:
    path = chat_model(tmp_path / "model", CLOCK)
    model, task = read_model(path), chats(write_task(tmp_path / "task"))

    def prepared(**fields: Any) -> PreparedRun:
        return PreparedRun.of(resolve(config_of(path, task, **fields), Path()), model)

    config = prepared().run.config
    assert config.day == date(2024, 7, 26)
    assert prepared(day="2024-07-26").run.config == config
    assert "day: '2024-07-26'" in config.yaml()
    out = Path("runs")
    later = config.model_copy(update={"day": date(2025, 1, 1)})
    assert run_folder(later, out) != run_folder(config, out)
    with pytest.raises(InputError, match="day: 2025-01-01; allowed: 2024-07-26, for which"):
        prepared(day="2025-01-01")
    loaded = read_model(**later.loading)
    assert loaded.fingerprint != model.fingerprint
    plain = PreparedRun.of(resolve(tiny.config(day="2025-01-01"), Path()), tiny.model)
    assert plain.run.config.day is None, "its rows have no day in them"


def test_a_run_shows_what_its_template_adds(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = chat_model(tmp_path / "model", CLOCK)
    task = chats(write_task(tmp_path / "task"))
    write_yaml(tmp_path / "run.yaml", tiny_settings(path, task, adapter=None, seeds=1))
    note = "the chat template writes the day: 2024-07-26 always"
    code, out, err = call("run", "run.yaml")
    assert (code, err) == (0, "")
    assert f"note: {note}" in out
    (folder,) = (tmp_path / "runs").glob("tiny-*")
    assert RunFolder(folder).config.day == date(2024, 7, 26)
    assert "26 Jul 2024" in RunFolder(folder).examples[0].prompt
    assert note in (folder / "report.html").read_text(encoding="utf-8")
    for words in (("plan", "run.yaml"), ("read", task["train"], "--model", path), ("doctor", path)):
        code, out, _ = call(*words)
        assert code == 0
        assert note in " ".join(out.split()), words
