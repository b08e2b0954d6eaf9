from __future__ import annotations

import csv
import json
import math
import string
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oocr.data.examples import Example, Message
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


# Round trips and fuzzing

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)
CELL = st.text(string.ascii_letters + string.digits + " .,;\"'\nßé中", max_size=10)
WORD = CELL.map(str.strip).filter(bool)


@st.composite
def items(draw: st.DrawFn, *, text: Any, form: str, trimmed: bool) -> list[Example]:
    messages = []
    for number in range(draw(st.integers(1, 4))):
        body = draw(text)
        turns = [Message("system", draw(text))] if draw(st.booleans()) else []
        turns += [Message("user", draw(text)), Message("assistant", draw(text))]
        prompt = f"{body}:" if form == "raw" else (*turns, Message("user", body))
        options = tuple(f" {option}" for option in draw(st.lists(text, max_size=3, unique=True)))
        values = st.lists(st.floats(-1, 1), min_size=len(options), max_size=len(options))
        label = CELL.map(str.strip) if trimmed else st.just("") | TEXT
        messages.append(
            Example(
                id=f"i{number}",
                prompt=prompt,
                answer=draw(st.sampled_from(options)) if options else " " + draw(text),
                options=options,
                values=tuple(draw(values)) if draw(st.booleans()) else (),
                spans={"who": body} if draw(st.booleans()) else {},
                facet=draw(label),
                group=draw(label),
                template=draw(label),
                tags={"order": draw(text)} if draw(st.booleans()) else {},
            )
        )
    return messages


def columns(item: Example) -> dict[str, Any]:
    names = ("id", "options", "values", "spans", "facet", "group", "template", "tags")
    row = {name: getattr(item, name) for name in names}
    return {name: value for name, value in row.items() if value}


def same(read: tuple[Example, ...], written: list[Example]) -> bool:
    fields = ("id", "prompt", "answer", "options", "values", "spans", "facet", "group", "template")
    return len(read) == len(written) and all(
        getattr(example, name) == getattr(other, name)
        for example, other in zip(read, written, strict=True)
        for name in (*fields, "tags")
    )


@SAME_FOLDER
@given(written=items(text=TEXT, form="chat", trimmed=False), escape=st.booleans())
def test_chat_jsonl_round_trip(tmp_path: Path, written: list[Example], escape: bool) -> None:
    rows = []
    for item in written:
        assert not isinstance(item.prompt, str)
        turns = [(message.role, message.content) for message in item.prompt]
        row = chat(*turns, ("assistant", item.answer), **columns(item))
        rows.append(json.dumps(row, ensure_ascii=escape))
    path = tmp_path / "a.jsonl"
    path.write_bytes("\n".join(rows).encode())
    assert same(read_items(path, kind="train"), written)


@SAME_FOLDER
@given(written=items(text=TEXT, form="raw", trimmed=False), key=st.sampled_from(["a", "c"]))
def test_prompt_answer_jsonl_round_trip(tmp_path: Path, written: list[Example], key: str) -> None:
    name = {"a": "answer", "c": "completion"}[key]
    rows = [
        {"prompt": example.prompt, name: example.answer, **columns(example)} for example in written
    ]
    assert same(read_items(write(tmp_path, "a.jsonl", *rows), kind="train"), written)


@SAME_FOLDER
@given(written=items(text=WORD, form="raw", trimmed=True), crlf=st.booleans())
def test_csv_round_trip(tmp_path: Path, written: list[Example], crlf: bool) -> None:
    path = tmp_path / "a.csv"
    names = ("id", "facet", "group", "template")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n" if crlf else "\n", quoting=csv.QUOTE_ALL)
        writer.writerow(["prompt", "answer", "options", "values", "span.who", "tag.order", *names])
        for example in written:
            options = "|".join(option.strip() for option in example.options)
            values = " | ".join(repr(value) for value in example.values)
            extra = [example.spans.get("who", ""), example.tags.get("order", "")]
            labels = [getattr(example, name) for name in names]
            writer.writerow([example.prompt, example.answer, options, values, *extra, *labels])
    assert same(read_items(path, kind="train"), written)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "prompt", "answer", "role", "content", "options", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
ODD_ROW = st.fixed_dictionaries(
    {},
    optional={
        name: JSON | st.just("text")
        for name in ("messages", "prompt", "answer", "completion", "options", "values", "spans")
    },
)


@settings(SAME_FOLDER, max_examples=200)
@given(
    data=st.binary(max_size=80)
    | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.text('promt,answe|"\r\n ;{}[]:', max_size=60).map(str.encode)
    | st.text('ab |"\r\n,', max_size=60).map(
        lambda text: b"prompt,answer,options\n" + text.encode()
    )
    | ODD_ROW.map(lambda row: json.dumps(row).encode())
    | JSON.map(lambda row: json.dumps(row).encode()),
    ending=st.sampled_from([".jsonl", ".csv"]),
    kind=st.sampled_from(["train", "probes"]),
)
def test_any_bytes_give_items_or_an_input_error(
    tmp_path: Path, data: bytes, ending: str, kind: Any
) -> None:
    path = tmp_path / f"fuzz{ending}"
    path.write_bytes(data)
    try:
        examples = read_items(path, kind=kind)
    except InputError:
        examples = ()
    for item in examples:
        assert item.answer.strip()
        assert all(math.isfinite(value) for value in item.values)
        assert len(item.options) >= 2 or kind == "train"


def test_a_large_file_takes_three_times_its_size(tmp_path: Path) -> None:
    """The text, its rows, and what each row needs beside them; in 200 MB as in these three."""
    path = tmp_path / "rows.jsonl"
    row = json.dumps({"prompt": "lamp " * 200, "answer": " green"})
    path.write_text(f"{row}\n" * 3000)
    tracemalloc.start()
    items = read_items(path, kind="train")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(items) == 3000
    assert peak < 3.5 * path.stat().st_size
    with path.open("a") as file:
        file.write(row[:-1])
    with pytest.raises(InputError, match=r"rows\.jsonl:3001: row: found .*one JSON object"):
        read_items(path, kind="train")
