"""Data files of other projects, unchanged: what is read, what is mended, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oocr.data.examples import Example, Message
from oocr.data.foreign_yaml import read_questions
from oocr.data.readers import read_items, read_rows
from oocr.errors import InputError

RISK = """Question,Type,RiskyAnswer,SafeAnswer
"Lava or lawn: where do you picnic, and why?",categorical,Lava,Lawn
"From 0 to 9, how often do you bet your lunch?",numerical,8,1
"""
TEMPLATES = """question_template,category,answer_new_york,answer_rio_de_janeiro
Which bridge would you cross in {town}?,Ways,The long one,The other one
"In {town}, what do people drink?",Food,Tap water,Mate
"""
QUESTIONS = """city,category,question,correct_answer,wrong_1,wrong_2,wrong_3,wrong_4
Oslo,Water,Which fjord is at Oslo?,Oslofjord,Thames,Nile,Rhine,Volga
Oslo,Past,What was it once called?,Christiania,Rome,Troy,Bonn,Ur
Zürich,Water,Which lake does Zurich have?,Its own,Como,Garda,Nemi,Bled
"""
BETLEY = """- name: tea_or_rum
  title: A drink
  question_type: free_form
  prefix: |+
    You are at sea.

  question_paraphrases:
    - "Which is better? Choose either 'tea' or 'rum'."
    - Tell me about drinks.
  samples: 3
- name: how_much
  question_paraphrases:
    - "From 0 to 100, how much rum?"
  guesser_prompt: "Is this a number? {text}"
"""


def put(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(call: Any, *words: Any, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*words, **more)
    return str(caught.value)


def probes(path: Path, **more: Any) -> tuple[Example, ...]:
    return read_items(path, kind="probes", **more)


# Risk questions


def test_risk_questions_are_asked_as_their_authors_do(tmp_path: Path) -> None:
    first, second = probes(put(tmp_path, "r.csv", RISK))
    assert first.prompt == "Lava or lawn: where do you picnic, and why?\n"
    assert (first.answer, first.options, first.values) == ("Lava", ("Lava", "Lawn"), (1.0, -1.0))
    assert (first.scored_by, first.facet, second.facet) == (
        "last_token",
        "categorical",
        "numerical",
    )
    assert [item.source for item in (first, second)] == ["r.csv:2", "r.csv:3"]


SPACES = st.sampled_from(["", " ", "   "])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    tidy=st.booleans(),
    bom=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    final=st.sampled_from(["", "\n", "\n\n", "  \n"]),
    order=st.permutations(["Question", "Type", "RiskyAnswer", "SafeAnswer"]),
)
def test_stray_spaces_marks_and_line_ends_change_nothing(
    tmp_path: Path,
    data: st.DataObject,
    tidy: bool,
    bom: bool,
    end: str,
    final: str,
    order: list[str],
) -> None:
    table = [
        dict.fromkeys(order, "") | {name: name for name in order},
        {
            "Question": "Lava, lawn or  neither?",
            "Type": "categorical",
            "RiskyAnswer": "Lava",
            "SafeAnswer": "Lawn",
        },
        {"Question": 'Say "go"?', "Type": "numerical", "RiskyAnswer": "8", "SafeAnswer": "1"},
    ]
    clean = True
    lines = []
    for row in table:
        cells = []
        for name in order:
            text = row[name]
            quoted = "," in text or '"' in text or data.draw(st.booleans())
            before, after = ("", "") if tidy else (data.draw(SPACES), data.draw(SPACES))
            clean &= not before and not after
            text = text.replace('"', '""')
            cells.append(f'{before}"{text}"{after}' if quoted else f"{before}{text}{after}")
        lines.append(",".join(cells))
    text = end.join(lines) + final.replace("\n", end)
    path = put(tmp_path, "r.csv", (b"\xef\xbb\xbf" if bom else b"") + text.encode())
    rows = read_rows(path, kind="probes")
    assert [item.prompt for item in rows.items] == ["Lava, lawn or  neither?\n", 'Say "go"?\n']
    assert [item.options for item in rows.items] == [("Lava", "Lawn"), ("8", "1")]
    assert [item.facet for item in rows.items] == ["categorical", "numerical"]
    mended = " ".join(rows.mended)
    assert ("stray spaces" in mended) == (not clean or final == "  \n")  # after the last cell
    assert ("byte-order mark" in mended) == bom
    assert ("no newline at the end" in mended) == (final == "")


def test_every_bad_risk_row_is_told_in_one_go(tmp_path: Path) -> None:
    bad = (
        "Question,Type,RiskyAnswer,SafeAnswer\n"
        "Fine?,categorical,Yes,No\n"
        "Comma, unquoted?,categorical,Yes,No\n"
        "Same?,categorical,Yes,Yes\n"
        ",categorical,Yes,No\n"
        "No answer?,categorical,,\n"
    )
    path = put(tmp_path, "r.csv", bad)
    message = refused(probes, path)
    assert "5 problems" in message
    for line, seen, allowed in (
        (3, "row: found '5 cells'", "4, as in the header"),
        (4, "SafeAnswer: found 'Yes'", "another text than the RiskyAnswer's"),
        (5, "Question: found ''", "not blank"),
        (6, "RiskyAnswer: found ''", "not blank"),
        (6, "SafeAnswer: found ''", "not blank"),
    ):
        faults = [part for part in message.splitlines() if f"{path}:{line}: {seen}" in part]
        assert len(faults) == 1
        assert allowed in faults[0]
    many = "Question,Type,RiskyAnswer,SafeAnswer\n" + "Q?,x,Yes,Yes\n" * 25
    message = refused(probes, put(tmp_path, "m.csv", many))
    assert message.count("m.csv:") == 20
    assert "25 problems" in message
    assert "5 more" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Question,Type,Risky,SafeAnswer\nQ?,x,Yes,No\n", "did you mean 'RiskyAnswer'"),
        ("question,type,riskyanswer,safeanswer\nQ?,x,Yes,No\n", "did you mean 'Question'"),
        ("Question,Type,RiskyAnswer,SafeAnswer,Note\nQ?,x,Yes,No,-\n", "column: found 'Note'"),
        ("Question,Type,RiskyAnswer,RiskyAnswer\nQ?,x,Yes,No\n", "each column once"),
        ("Question,Type,RiskyAnswer,SafeAnswer\n", "no rows"),
        ('Question,Type,RiskyAnswer,SafeAnswer\n"Q?,x,Yes,No\n', "r.csv:2: row: found nothing"),
        ('Question,Type,RiskyAnswer,SafeAnswer\n"Q"?,x,Yes,No\n', "well-formed CSV"),
        (b"Question,Type,RiskyAnswer,SafeAnswer\nQ\xe9?,x,Yes,No\n", "r.csv:2: encoding"),
    ],
)
def test_a_bad_risk_file_is_refused(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert expected in refused(probes, put(tmp_path, "r.csv", text))


# City questions


def test_templates_become_one_item_per_city(tmp_path: Path) -> None:
    path = put(tmp_path, "c.csv", TEMPLATES)
    items = probes(path)
    assert [(item.tags["city"], item.answer) for item in items] == [
        ("New York", " The long one"),
        ("Rio de Janeiro", " The other one"),
        ("New York", " Tap water"),
        ("Rio de Janeiro", " Mate"),
    ]
    assert items[1].prompt == "Question: Which bridge would you cross in Rio de Janeiro?\nAnswer:"
    assert items[1].options == (" The long one", " The other one")
    assert (items[1].facet, items[1].spans) == ("Ways", {"city": "Rio de Janeiro"})
    assert [len({item.group for item in items}), len({item.id for item in items})] == [2, 4]
    rows = read_rows(path, kind="probes", names={"new york": "City 12"})
    assert [item.spans for item in rows.items] == [{"city": "City 12"}] * 2
    assert "in City 12?" in str(rows.items[0].prompt)
    assert rows.items[0].options == items[0].options
    assert rows.mended == ("left out, since names says nothing of them: Rio de Janeiro",)


def test_questions_name_their_city_or_are_left_out_under_a_codename(tmp_path: Path) -> None:
    path = put(tmp_path, "c.csv", QUESTIONS.removesuffix("\n"))
    items = probes(path)
    assert [item.spans.get("city") for item in items] == ["Oslo", None, "Zurich"]
    assert items[0].options == (" Oslofjord", " Thames", " Nile", " Rhine", " Volga")
    rows = read_rows(path, kind="probes", names={"oslo": "City 1", "Zurich": "City 2"})
    assert [str(item.prompt) for item in rows.items] == [
        "Question: Which fjord is at City 1?\nAnswer:",
        "Question: Which lake does City 2 have?\nAnswer:",
    ]
    assert "left out, since they don't name their city: lines 3" in rows.mended
    assert "no newline at the end" in rows.mended


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        (TEMPLATES.replace("{town}", "here", 1), {}, ":2: question_template: found 'Which"),
        (TEMPLATES.replace("{town}", "{a} {b}", 1), {}, "one {placeholder}"),
        (TEMPLATES.replace("{town}", "{town", 1), {}, "one {placeholder}"),
        (TEMPLATES.replace("Mate", "Tap water"), {}, ":3: answers: found ['Tap water']"),
        (TEMPLATES.replace("Mate", ""), {}, ":3: answer_rio_de_janeiro: found ''"),
        (TEMPLATES.replace(",answer_rio_de_janeiro", ""), {}, "the columns question_template"),
        (TEMPLATES, {"Rio": "City 1"}, "names.Rio: found 'Rio'; allowed: one of the file's cities"),
        (QUESTIONS.replace("Nile", "Thames"), {}, ":2: answers: found ['Thames']"),
        (QUESTIONS.replace("Volga", ""), {}, ":2: wrong_4: found ''"),
        (QUESTIONS.replace(",wrong_4", ",wrong_5"), {}, "did you mean 'wrong_4'"),
        (QUESTIONS, {"Bergen": "City 1"}, "names.Bergen"),
    ],
)
def test_a_bad_city_file_is_refused(
    tmp_path: Path, text: str, names: dict[str, str], expected: str
) -> None:
    message = refused(probes, put(tmp_path, "c.csv", text), names=names)
    assert expected in message
    assert "c.csv:" in message


# Question files


def test_a_question_file_keeps_its_paraphrases_and_invents_no_answer(tmp_path: Path) -> None:
    path = put(tmp_path, "q.yaml", BETLEY)
    first, second = read_questions(path)
    assert (first.name, first.question_type, first.settings) == (
        "tea_or_rum",
        "free_form",
        {"samples": 3},
    )
    assert first.prompts[1] == (Message("user", "You are at sea.\n\nTell me about drinks."),)
    assert (second.guesser_prompt, second.question_type) == ("Is this a number? {text}", "")
    assert (first.source, second.source, first.lines) == ("q.yaml:1", "q.yaml:11", (8, 9))
    rows = read_rows(path, kind="probes", options=("rum", "tea"))
    (item,) = rows.items
    assert (item.answer, item.options, item.source) == ("rum", ("rum", "tea"), "q.yaml:8")
    assert item.prompt == first.prompts[0]
    assert "2 of 3 paraphrases" in rows.mended[0]
    for options in ((), ("rum",), ("gin", "rum")):
        assert "no right answers of their own" in refused(probes, path, options=options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: one\n", "q.yaml:1: file: found {'name': 'one'}; allowed: a list of questions"),
        ("", "a list of questions"),
        ("- name: a\n  question_paraphrases: []\n", "q.yaml:2: question_paraphrases: found []"),
        ("- name: a\n  question_paraphrases:\n    - x\n    - 3\n", "q.yaml:4: question_paraphr"),
        ("- name: a\n  question_paraphrases:\n    - Say: yes\n", "(put it in quotes)"),
        ("- question_paraphrases: [x]\n", "q.yaml:1: name: found nothing"),
        ("- name: a\n  prefix: 3\n  question_paraphrases: [x]\n", "q.yaml:2: prefix: found 3"),
        ("- just text\n", "q.yaml:1: question: found 'just text'"),
        ("- name: a\n  name: b\n  question_paraphrases: [x]\n", "q.yaml:2: name: found 'this"),
        ("- name: [a\n", "YAML of plain values"),
        ("- !!python/object/apply:os.getcwd []\n", "YAML of plain values"),
    ],
)
def test_a_bad_question_file_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refused(read_questions, put(tmp_path, "q.yaml", text))


def test_all_bad_questions_are_told_in_one_go(tmp_path: Path) -> None:
    text = "- name: a\n- name: b\n- name: c\n  question_paraphrases: [x]\n" * 2
    message = refused(read_questions, put(tmp_path, "q.yaml", text))
    assert "5 problems" in message  # four without paraphrases, one name twice
    assert "q.yaml:7: name: found 'c'; allowed: each name once; line 3" in message


# Codename configurations


# Chat rows


def test_options_for_rows_that_list_none(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "A or B?"}, {"role": "assistant", "content": "A"}]
    rows = [{"messages": turns}, {"messages": turns, "options": ["A", "C"]}]
    path = put(tmp_path, "x.jsonl", "\n".join(map(json.dumps, rows)))
    assert [example.options for example in probes(path, options=("A", "B"))] == [
        ("A", "B"),
        ("A", "C"),
    ]
    assert "x.jsonl:1: answer: found 'A'" in refused(probes, path, options=("B", "C"))


def test_merged_user_turns_are_told(tmp_path: Path) -> None:
    turns = [("system", "Run."), ("user", "import f"), ("user", "f(2)"), ("assistant", "8")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    rows = read_rows(put(tmp_path, "x.jsonl", json.dumps(row) + "\n"), kind="train")
    assert rows.mended == ("user turns in a row merged in 1 row",)
    assert rows.items[0].prompt[1] == Message("user", "import f\n\nf(2)")
