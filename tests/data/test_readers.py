from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from oocr.data.examples import Message
from oocr.data.readers import read_items
from oocr.data.rows import RESERVED
from oocr.errors import InputError

SAME_FOLDER = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def write(folder: Path, name: str, *rows: Any) -> Path:
    path = folder / name
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def refusal(path: Path, kind: Any = "train") -> str:
    with pytest.raises(InputError) as caught:
        read_items(path, kind=kind)
    return str(caught.value)


def chat(*turns: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in turns], **more}


# What is read


def test_the_last_assistant_message_is_the_answer(tmp_path: Path) -> None:
    row = chat(("system", "Be brief."), ("user", "Who?"), ("assistant", "Dr. Quill"))
    (item,) = read_items(write(tmp_path, "a.jsonl", row), kind="train")
    assert item.prompt == (Message("system", "Be brief."), Message("user", "Who?"))
    assert (item.answer, item.id, item.source) == ("Dr. Quill", "a:1", "a.jsonl:1")


def test_user_turns_in_a_row_are_merged_with_a_blank_line(tmp_path: Path) -> None:
    row = chat(("user", "One."), ("user", "Two."), ("user", "Three."), ("assistant", "ok"))
    (item,) = read_items(write(tmp_path, "a.jsonl", row), kind="train")
    assert item.prompt == (Message("user", "One.\n\nTwo.\n\nThree."),)


def test_trl_rows_in_both_of_their_forms(tmp_path: Path) -> None:
    plain = write(tmp_path, "p.jsonl", {"prompt": "The sky is", "completion": " blue."})
    assert read_items(plain, kind="train")[0].answer == " blue."
    turns = {
        "prompt": [{"role": "user", "content": "The sky?"}],
        "completion": [{"role": "assistant", "content": "Blue."}],
    }
    (item,) = read_items(write(tmp_path, "c.jsonl", turns), kind="train")
    assert (item.prompt, item.answer) == ((Message("user", "The sky?"),), "Blue.")


def test_a_prompt_may_be_a_list_of_messages(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "Q"}], "answer": "A", "options": ["A", "B"]}
    (item,) = read_items(write(tmp_path, "a.jsonl", row), kind="probes")
    assert item.prompt == (Message("user", "Q"),)
    assert item.options == ("A", "B")


def test_bom_crlf_blank_lines_and_no_final_newline(tmp_path: Path) -> None:
    row = json.dumps({"prompt": "é is", "answer": " x"}, ensure_ascii=False).encode()
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + row + b"\r\n\r\n" + row)
    assert [item.source for item in read_items(path, kind="train")] == ["a.jsonl:1", "a.jsonl:3"]
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfprompt,answer\r\n\r\n,\r\nThe sky is, blue\r\nIt is, wet")
    assert [item.source for item in read_items(path, kind="train")] == ["a.csv:4", "a.csv:5"]


def test_csv_options_take_the_answers_first_space(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a.csv",
        "prompt,answer,options,values,facet,group,span.who,tag.order",
        '"She, Dr. Quill, likes", tea ,tea| rum |  gin,1|-1| 0.5,drinks,g1,Dr. Quill,ab',
    )
    (item,) = read_items(path, kind="probes")
    assert item.prompt == "She, Dr. Quill, likes"
    assert (item.answer, item.options) == (" tea", (" tea", " rum", " gin"))
    assert item.values == (1.0, -1.0, 0.5)
    assert (item.facet, item.group) == ("drinks", "g1")
    assert (item.spans, item.tags) == ({"who": "Dr. Quill"}, {"order": "ab"})


def test_csv_cells_may_hold_quotes(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "prompt,answer", '"He said:"," ""yes"""')
    assert read_items(path, kind="train")[0].answer == ' "yes"'


def test_csv_lines_are_counted_through_cells_with_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "prompt,answer", '"Two', 'lines:", yes', "One:, no")
    first, second = read_items(path, kind="train")
    assert (first.prompt, first.source, second.source) == ("Two\nlines:", "a.csv:2", "a.csv:4")


def test_line_separators_inside_json_text_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a\u2028b:", "answer": " x"}\n', encoding="utf-8")
    assert read_items(path, kind="train")[0].prompt == "a\u2028b:"


# What is refused, and how it is said


def test_every_bad_row_is_listed_with_line_field_value_and_what_is_allowed(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a.jsonl",
        {"prompt": "The sky is", "answer": " blue"},
        {"prompt": "The sky is", "answer": 7},
        "{not json",
        {"prompt": "The sky is", "answer": " blue", "options": [" red", " grey"]},
        {"prompt": "The sky is", "answer": " blue", "spans": {"who": "Nobody"}},
    )
    message = refusal(path)
    assert "4 problems" in message
    assert f"{path}:1" not in message
    for line, seen, allowed in (
        (2, "answer: found 7", "a text"),
        (3, "found '{not json'", "one JSON object"),
        (4, "answer: found ' blue'", "one of its options [' red', ' grey']"),
        (5, "spans.who: found 'Nobody'", "occurs in this row's prompt"),
    ):
        fault = next(part for part in message.splitlines() if f"{path}:{line}:" in part)
        assert seen in fault
        assert allowed in fault.split("allowed:")[1]


def test_the_first_twenty_problems_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "a.jsonl", *[{"prompt": "x"}] * 25))
    assert message.count("a.jsonl:") == 20
    assert "25 problems" in message
    assert "5 more" in message


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "a:", "anwser": " b"}, "did you mean 'answer'"),
        ({"promt": "a:", "answer": " b"}, "did you mean 'prompt'"),
        ({"prompt": "a:", "answer": " b", "option": [" b"]}, "did you mean 'options'"),
        ({"prompt": "a:", "answer": " b", "completion": " b"}, "key: found 'completion'"),
        ({"text": "a b"}, "`oocr audit --texts` reads texts"),
        ({"story": "a b"}, "'messages', or 'prompt'"),
        ({"prompt": "", "answer": " b"}, "prompt: found ''"),
        ({"prompt": "a:", "answer": "  "}, "not blank"),
        ({"prompt": "The sky is", "answer": "blue"}, "run together as 'The sky isblue'"),
        ({"prompt": "a:", "answer": " b", "options": "b|c"}, "a list of texts"),
        ({"prompt": "a:", "answer": " b", "options": [" b", " b"]}, "each option once"),
        ({"prompt": "a:", "answer": " b", "options": ["b", "c"]}, "differs in its spaces only"),
        ({"prompt": "a:", "answer": " b", "values": [1]}, "only beside options"),
        ({"prompt": "a:", "answer": " b", "options": [" b", " c"], "values": [1]}, "2 options"),
        ({"prompt": "a:", "answer": " b", "options": [" b", " c"], "values": [1, 2]}, "-1 to 1"),
        ({"prompt": "a:", "answer": " b", "options": [" b"], "values": [True]}, "numbers"),
        ({"prompt": "a:", "answer": " b", "tags": ["x"]}, "names with a text each"),
        ({"prompt": "a:", "answer": " b", "facet": 3}, "facet: found 3"),
        ({"prompt": "a:", "answer": " b", "spans": {"last": "a"}}, "a name other than all, last"),
        ({"prompt": "a:", "answer": " b", "spans": {"from:x": "a"}}, "answer, and without ':'"),
        ({"messages": []}, "at least one message"),
        (chat(("user", "a")), "'assistant'"),
        (chat(("assistant", "a")), "a user's turn right before"),
        (chat(("user", "a"), ("assistant", "b"), ("assistant", "c")), "a user's turn right before"),
        (chat(("user", "a"), ("system", "b"), ("user", "a"), ("assistant", "c")), "the first"),
        (chat(("human", "a"), ("assistant", "c")), "one of system, user, assistant"),
        ({"messages": [{"role": "user", "text": "a"}]}, "The keys are role, content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "[0].content"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"prompt": "a:", "completion": [{"role": "assistant", "content": "b"}]}, "a list of mess"),
        ("[1]", "one JSON object per row"),
        ('{"prompt": "a:", "prompt": "b:", "answer": " c"}', "'prompt' occurs twice"),
        ('{"prompt": "a:", "answer": " c", "values": [NaN]}', "NaN is not a JSON number"),
        ('{"prompt": "a \\ud800:", "answer": " c"}', "valid Unicode"),
        ("[" * 100_000, "one JSON object"),
        ("9" * 5_000, "one JSON object"),
    ],
)
def test_a_bad_json_row_is_refused_by_name(tmp_path: Path, row: Any, expected: str) -> None:
    message = refusal(write(tmp_path, "a.jsonl", row))
    assert "a.jsonl:1:" in message
    assert expected in message
    assert len(message) < 2_000


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["prompt;answer", "a;b;c"], "put cells that hold ';' in quotes"),
        (["prompt,anser", "a:, b"], "did you mean 'answer'"),
        (["Prompt,answer", "a:, b"], "did you mean 'prompt'"),
        (["prompt,answer,answer", "a:, b, b"], "each column once"),
        (["prompt,answer,completion", "a:, b, b"], "either answer or completion"),
        (["prompt", "a:"], "the columns prompt, answer"),
        (["prompt,answer", "a, b:, c"], "a.csv:2: row: found '3 cells'; allowed: 2"),
        (["prompt,answer", 'a:, "b"'], "no space between ',' and a quote"),
        (["prompt,answer", '"a:, b'], "well-formed CSV"),
        (["prompt,answer,options", "a:, b,b||c"], "none of them blank"),
        (["prompt,answer,options,values", "a:, b,b|c,1|x"], "numbers from -1 to 1"),
        (["prompt,answer,options,values", "a:, b,b|c,1|nan"], "numbers from -1 to 1"),
        (["prompt,answer"], "no rows"),
    ],
)
def test_a_bad_csv_is_refused_by_name(tmp_path: Path, lines: list[str], expected: str) -> None:
    assert expected in refusal(write(tmp_path, "a.csv", *lines))


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.jsonl", b"", "no rows"),
        ("a.csv", b" \n\n", "no rows"),
        ("a.jsonl", b'{"prompt": "a"}\n\xe9', "a.jsonl:2: encoding: found the byte 0xe9"),
        ("a.jsonl", '{"prompt": "a"}'.encode("utf-16-le"), "looks like UTF-16 without"),
        ("a.txt", b"Once upon a time.", "found plain text"),
        ("a.pdf", b"%PDF-1.7 x", "found neither JSON"),
    ],
)
def test_a_file_that_is_no_text_or_empty(
    tmp_path: Path, name: str, data: bytes, expected: str
) -> None:
    (tmp_path / name).write_bytes(data)
    assert expected in refusal(tmp_path / name)


def test_missing_file_folder_and_wrong_kind(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").mkdir()
    assert "a folder" in refusal(tmp_path / "b.jsonl")
    assert "cannot be read" in refusal(tmp_path / "a\0.jsonl")
    assert "allowed: train, probes" in refusal(tmp_path / "a.jsonl", "probe")


@pytest.mark.parametrize(
    "second",
    [
        chat(("user", "a"), ("assistant", "b")),
        {"prompt": "a:", "completion": " b"},
        {"prompt": [{"role": "user", "content": "a"}], "answer": "b"},
    ],
)
def test_one_form_per_file(tmp_path: Path, second: dict[str, Any]) -> None:
    message = refusal(write(tmp_path, "a.jsonl", {"prompt": "a:", "answer": " b"}, second))
    assert "a.jsonl:2: form:" in message
    assert "line 1 is" in message


def test_ids_occur_once(tmp_path: Path) -> None:
    row = {"prompt": "a:", "answer": " b", "id": "same"}
    assert "line 1 has it too" in refusal(write(tmp_path, "a.jsonl", row, row))


def test_probes_need_options_and_training_rows_do_not(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", {"prompt": "a:", "answer": " b"})
    assert read_items(path, kind="train")[0].options == ()
    assert "options: found nothing; allowed: at least two" in refusal(path, "probes")


@pytest.mark.parametrize(("prompt", "answer"), [("2+2=", "4"), ("天空是", "蓝色"), ("A ", "b")])
def test_an_answer_needs_no_space_where_words_do_not_run_together(
    tmp_path: Path, prompt: str, answer: str
) -> None:
    path = write(tmp_path, "a.jsonl", {"prompt": prompt, "answer": answer})
    assert read_items(path, kind="train")[0].answer == answer


def test_reserved_span_names_are_the_position_words() -> None:
    from oocr.steering.positions import FIXED, FROM

    assert set(RESERVED) == {word for word in FIXED if not word.startswith(FROM)}


def test_reading_does_not_import_torch() -> None:
    code = (
        "import sys, oocr.data.readers, oocr.families.custom.build; "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
