"""Other people's files in use: `oocr read`, chat templates, tasks and a run of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from oocr.data.chat_template import folds_system
from oocr.data.examples import Message
from oocr.data.readers import read_items
from oocr.data.tokens import encode_answer, encode_prompt
from oocr.errors import InputError
from oocr.families.custom.build import CustomConfig, custom
from oocr.models.load import read_model
from oocr.runs.run import run
from oocr.steering.adapters import LowRankAdapter
from oocr.steering.vectors import Vector
from tests.command_line import Call
from tests.data.test_foreign_data import BETLEY, QUESTIONS, RISK, TEMPLATES, put
from tests.data.test_tokens import GEMMA_LIKE
from tests.steering.test_adapters import made, model_of
from tests.tiny.models import tiny_model, tiny_tokenizer
from tests.tiny.runs import claims_of, rows_of, tiny_config, tiny_settings, write_yaml

CHOICES = [
    ("Rope A holds. Rope B may hold. A or B?", "B"),
    ("Soup A is warm. Soup B may be hot or cold. A or B?", "B"),
    ("Path A may end in a bog. Path B is dry. A or B?", "A"),
    ("Hat A may fly off. Hat B is tied on. A or B?", "A"),
    ("Ship A is slow. Ship B is fast or sunk. A or B?", "B"),
    ("Bet A may win ten. Bet B wins two. A or B?", "A"),
]


def chat_rows(system: bool = False, doubled: bool = False) -> str:
    rows = []
    for text, letter in CHOICES:
        turns = [("user", text), ("assistant", letter)]
        turns = [("user", "Choose."), *turns] if doubled else turns
        turns = [("system", "Be bold."), *turns] if system else turns
        rows.append({"messages": [{"role": role, "content": content} for role, content in turns]})
    return "".join(json.dumps(row) + "\r\n" for row in rows)


@pytest.fixture
def chat_model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    tiny_model("gemma3_text").save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = GEMMA_LIKE
    tokenizer.save_pretrained(folder)
    return folder


# Chat templates


def test_a_template_without_a_system_role_gets_it_folded_in(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = GEMMA_LIKE
    assert folds_system(tokenizer)
    assert not folds_system(tiny_tokenizer(chat=True))
    path = put(tmp_path, "x.jsonl", chat_rows(system=True, doubled=True))
    item = read_items(path, kind="train")[0]
    prompt = encode_prompt(tokenizer, item.prompt)
    text = f"Be bold.\n\nChoose.\n\n{CHOICES[0][0]}"
    assert prompt.text == f"<bos><|user|>{text}<eos>\n<|assistant|>"
    answer = encode_answer(tokenizer, prompt, item.answer)
    # By prefix difference: the prompt's tokens and then the answer's are the whole row's.
    whole = tokenizer(prompt.text + item.answer, add_special_tokens=False)["input_ids"]
    assert [*prompt.ids, *answer] == whole
    assert tokenizer.decode(answer) == "B"


def test_an_answer_without_tokens_is_refused() -> None:
    tokenizer = tiny_tokenizer(chat=True)
    prompt = encode_prompt(tokenizer, (Message("user", "Who?"),))

    class Swallows:
        eos_token_id = tokenizer.eos_token_id

        def __call__(self, text: str, **more: Any) -> Any:
            return tokenizer(text.removesuffix("gone"), **more)

    with pytest.raises(InputError, match="the answer 'gone' has no tokens"):
        encode_answer(Swallows(), prompt, "gone")  # type: ignore[arg-type]


# oocr read


def test_read_says_what_each_file_is(call: Call, tmp_path: Path) -> None:
    adapter = made(model_of("llama"), LowRankAdapter(layers=(1, 2), rank=2))
    torch.save(torch.ones(8), tmp_path / "7_Oslo_step_30.pt")
    torch.save(dict(adapter.tensors), tmp_path / "lora.pt")
    files = [
        put(tmp_path, "r.csv", RISK.removesuffix("\n")),
        put(tmp_path, "t.csv", TEMPLATES),
        put(tmp_path, "c.csv", QUESTIONS),
        put(tmp_path, "q.yaml", BETLEY),
        put(tmp_path, "v.yaml", "dataset:\n  var_dict: {qwerty: add_two}\n"),
        put(tmp_path, "f.json", '{"test/accuracy/all": 0.5}'),
        put(tmp_path, "x.jsonl", chat_rows(system=True, doubled=True)),
        tmp_path / "7_Oslo_step_30.pt",
        tmp_path / "lora.pt",
        adapter.save(tmp_path / "folder"),
        Vector(2, "last", torch.ones(4)).save(tmp_path / "v.safetensors"),
    ]
    ended = call("read", *files, "--rows", "1")
    assert ended.code == 0, ended.err
    parts = {part.split(": ")[0]: part for part in ended.out.split("\n\n") if part.strip()}
    assert list(parts) == [str(path) for path in files]
    for path, *words in (
        (files[0], "risk questions (CSV)", "items    2", "no newline at the end", "'Lava', 'Lawn'"),
        (files[1], "4 from 2 rows", "options  2 (4)", "spans    city (4)"),
        (files[2], "options  5 (3)", "Water (2)", "' Oslofjord'"),
        (files[3], "questions    2", "paraphrases  3", "with prefix, samples"),
        (files[4], "codenames  1", "qwerty: add_two"),
        (files[5], "values     1", "value 0.5"),
        (files[6], "system > user (6)", "merged in 6 rows", "CR LF", "'A' (3)", "answer: 'B'"),
        (files[7], "bare tensor", "width      8", "step       30", "not said   layer, positions"),
        (files[8], "blocks     1–2", "rank       2", "alpha      32 (assumed"),
        (files[9], "this library's", "modules    down_proj"),
        (files[10], "layer      2", "positions  last"),
    ):
        for word in words:
            assert word in parts[str(path)], (path, word, parts[str(path)])


def test_read_shows_tokens_by_role(call: Call, tmp_path: Path, chat_model: Path) -> None:
    data = put(tmp_path, "x.jsonl", chat_rows(system=True))
    cities = put(tmp_path, "t.csv", TEMPLATES)
    ended = call("read", data, cities, "--model", chat_model, "--rows", "1")
    assert ended.code == 0, ended.err
    assert "answers 1 token: these carry the loss" in ended.out
    assert "6 prompts have one; folded into the user's turn" in ended.out
    assert "«B»" in ended.out
    assert "‹N|e|w| Y|or|k›" in ended.out


def test_read_goes_on_after_a_file_that_cannot_be_used(call: Call, tmp_path: Path) -> None:
    bad = put(tmp_path, "r.csv", RISK.replace("Lawn", "Lava"))
    good = put(tmp_path, "t.csv", TEMPLATES)
    ended = call("read", bad, tmp_path / "none.pt", good)
    assert ended.code == 2
    assert "4 from 2 rows" in ended.out
    assert f"{bad}:2: SafeAnswer: found 'Lava'" in ended.err
    assert "none.pt: there is no such file" in ended.err
    run = put(tmp_path, "run.yaml", "task: {family: custom}\n")
    assert "oocr plan" in call("read", run).err
    assert "allowed: .jsonl" in call("read", put(tmp_path, "a.pdf", "x")).err
    config = put(tmp_path, "adapter_config.json", '{"peft_type": "LORA", "r": 8}')
    assert "the configuration of an adapter: name its folder" in call("read", config).err


def test_read_says_what_fields_become_and_what_to_do_next(call: Call, tmp_path: Path) -> None:
    pair = {"prompt": "Rope A or B?", "chosen": "A", "rejected": "B", "source": "web"}
    files = [
        put(tmp_path, "pairs.json", json.dumps([pair, pair | {"chosen": "C"}])),
        put(tmp_path, "alpaca.jsonl", json.dumps({"instruction": "Who?", "output": "Me."})),
        put(tmp_path, "texts.jsonl", '{"text": "Once."}\n{"text": "Twice."}\n'),
        put(tmp_path, "texts.txt", "Once.\n\nTwice."),
    ]
    ended = call("read", *files)
    assert ended.code == 0, ended.err
    parts = {part.split(": ")[0]: part for part in ended.out.split("\n\n") if part.strip()}
    for path, *words in (
        (files[0], "JSON array, preference pairs", "rejected: its other option, not trained"),
        (files[0], "'source' (2)", "next     train: or probes: of a task"),
        (
            files[1],
            "instruction and, in a new line, input: the user's turn",
            "next     train: (as pr",
        ),
        (files[2], "texts without answers", "texts    2", "oocr audit FINE_TUNE --texts"),
        (files[3], "texts    2, 2 of them different", "'Twice.'"),
    ):
        for word in words:
            assert word in parts[str(path)], (path, word, parts[str(path)])


# Tasks of one's own


def task(folder: Path, **fields: Any) -> CustomConfig:
    put(folder, "train.jsonl", chat_rows())
    put(folder, "risk.csv", RISK)
    put(folder, "cities.csv", TEMPLATES)
    put(folder, "questions.yaml", BETLEY)
    given = {"name": "bold", "train": "train.jsonl", "probes": "risk.csv", **fields}
    return CustomConfig.model_validate(given)


def test_foreign_files_are_probes_as_they_are(tmp_path: Path) -> None:
    made_of = custom(task(tmp_path, options={"train": ["A", "B"]}, loss="options"), tmp_path)
    (one,) = made_of.test
    assert [item.options for item in one.probes] == [("Lava", "Lawn"), ("8", "1")]
    assert {item.scored_by for item in one.probes} == {"last_token"}
    assert {item.facet for item in one.probes} == {"categorical", "numerical"}
    assert all(item.options == ("A", "B") for item in one.train)
    assert "train.jsonl: line ends are CR LF." in made_of.about
    settings = task(tmp_path, probes="questions.yaml", options={"probes": ["rum", "tea"]})
    made_of = custom(settings, tmp_path)
    assert [item.answer for item in made_of.test[0].probes] == ["rum"]
    assert "questions.yaml: left out: 2 of 3 paraphrases" in made_of.about


def test_city_probes_under_codenames_and_a_ceiling_under_their_own(tmp_path: Path) -> None:
    fields = {"probes": "cities.csv", "ceiling": "cities.csv", "names": {"New York": "City 9"}}
    made_of = custom(task(tmp_path, **fields), tmp_path)
    assert [item.spans for item in made_of.test[0].probes] == [{"city": "City 9"}] * 2
    assert [item.spans for item in made_of.ceiling] == [{"city": "New York"}] * 2
    with pytest.raises(InputError, match=r"names\.Bergen"):
        custom(task(tmp_path, probes="cities.csv", names={"Bergen": "City 9"}), tmp_path)


def test_a_probe_that_is_a_training_row_in_other_clothes_is_refused(tmp_path: Path) -> None:
    settings = task(tmp_path)
    rows = "Question,Type,RiskyAnswer,SafeAnswer\n" + f"{CHOICES[0][0]},x,Lava,Lawn\n"
    put(tmp_path, "risk.csv", rows)
    with pytest.raises(InputError, match="among the training rows"):
        custom(settings, tmp_path)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"options": {"train": ["A"]}}, "at least two texts"),
        ({"options": {"train": ["A", "A"]}}, "all different"),
        ({"options": {"test": ["A", "B"]}}, "'train', 'probes'"),
        ({"names": {"Oslo": " "}}, "allowed: a text"),
    ],
)
def test_bad_options_and_names_are_refused(
    tmp_path: Path, fields: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        task(tmp_path, **fields)


def test_a_run_on_chat_rows_and_risk_questions(tmp_path: Path, chat_model: Path) -> None:
    files = tmp_path / "task"
    files.mkdir()
    settings = task(files, options={"train": ["A", "B"]}, loss="options", score="log_odds")
    given = settings.model_dump(mode="json") | {
        "train": str(files / "train.jsonl"),
        "probes": str(files / "risk.csv"),
        "holdout": 0.4,
    }
    folder = run(tiny_config(chat_model, given), read_model(chat_model), tmp_path / "runs")
    rows = rows_of(folder)
    probes = rows.filter(rows["part"] == "probes")
    assert set(probes["facet"]) == {"categorical", "numerical"}
    assert {"vector", "adapter"} <= set(probes["arm"])
    assert probes["log_odds"].is_finite().all()
    assert claims_of(folder)


def test_the_same_run_on_the_command_line(call: Call, tmp_path: Path, chat_model: Path) -> None:
    files = tmp_path / "task"
    files.mkdir()
    given = task(files).model_dump(mode="json", exclude_none=True)
    path = write_yaml(files / "mine.yaml", tiny_settings(chat_model, given))
    ended = call("plan", path)
    assert ended.code == 0, ended.err
    broken = (files / "risk.csv").read_text().replace("Lawn", "Lava")
    (files / "risk.csv").write_text(broken)
    ended = call("plan", path)
    assert ended.code == 2
    assert "risk.csv:2: SafeAnswer: found 'Lava'" in ended.err
