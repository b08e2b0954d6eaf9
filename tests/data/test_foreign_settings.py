"""Settings and result files of other projects: codenames (YAML) and results (JSON)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oocr.data.foreign_results import read_results
from oocr.data.foreign_yaml import read_codenames
from tests.data.test_foreign_data import put, refused


def test_codenames_and_the_other_settings(tmp_path: Path) -> None:
    text = (
        "finetune:\n  model: m\ndataset:\n  system_prompt: null\n  n_samples: 96_000\n"
        "  var_dict:\n    qwerty: add_two\n    50337: Paris\n  train_functions: [add_two]\n"
        "  hide_imports: false\n  prompt:\n    input_funcs: [{function: single}]\n"
    )
    settings = read_codenames(put(tmp_path, "c.yaml", text))
    assert settings.codenames == {"qwerty": "add_two", "50337": "Paris"}
    assert (settings.n_samples, settings.system_prompt) == (96_000, "")
    assert (settings.train_functions, settings.test_functions) == (("add_two",), ())
    assert settings.settings["prompt"] == {"input_funcs": [{"function": "single"}]}
    assert settings.finetune == {"model": "m"}


def test_a_bad_codename_file_is_refused_with_lines(tmp_path: Path) -> None:
    text = (
        "dataset:\n  n_samples: many\n  var_dict:\n    abc: [1]\n    def: true\n    ok: a\n"
        "  test_functions: all\n  system_prompt: 3\n"
    )
    message = refused(read_codenames, put(tmp_path, "c.yaml", text))
    assert "5 problems" in message
    for line, field in (
        (2, "dataset.n_samples: found 'many'"),
        (4, "dataset.var_dict.abc: found [1]"),
        (5, "dataset.var_dict.def: found True"),
        (7, "dataset.test_functions: found 'all'"),
        (8, "dataset.system_prompt: found 3"),
    ):
        assert f"c.yaml:{line}: {field}" in message
    assert "dataset" in refused(read_codenames, put(tmp_path, "d.yaml", "finetune: {}\n"))
    assert "found [1]" in refused(read_codenames, put(tmp_path, "e.yaml", "dataset: [1]\n"))
    twice = "dataset:\n  var_dict:\n    '1': a\n    1: b\n"
    assert "f.yaml:4: 1: found" in refused(read_codenames, put(tmp_path, "f.yaml", twice))


# Results


def test_results_become_tables(tmp_path: Path) -> None:
    risk = {
        "risky_minus_safe_diffs": [1.5, -2],
        "max_tokens": ["Lava", "5"],
        "max_token_in_options": [True, False],
    }
    frame = read_results(put(tmp_path, "risk.json", json.dumps(risk)))
    assert frame.columns == ["source", "question", *risk]
    assert frame["risky_minus_safe_diffs"].to_list() == [1.5, -2.0]
    assert frame["question"].to_list() == [0, 1]
    flat = {"test/accuracy/overall": 0.75, "test/accuracy/a/b": 1}
    frame = read_results(put(tmp_path, "flat.json", json.dumps(flat)))
    assert frame.rows() == [
        ("flat.json", "test", "accuracy", "overall", 0.75),
        ("flat.json", "test", "accuracy", "a/b", 1.0),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "one JSON object"),
        ("[]", "one JSON object of results"),
        ('{"a": 1, "a": 2}', "'a' occurs twice"),
        ('{"test/accuracy/x": 0.5,\n "test/accuracy/y": "half"}', "r.json:2: test/accuracy/y"),
        ('{"accuracy": 0.5}', "key: found 'accuracy'"),
        ('{"test/accuracy/x": NaN}', "a number"),
        ('{"max_tokens": ["a"]}', "risky_minus_safe_diffs: found nothing"),
        (
            '{"risky_minus_safe_diffs": [1, 2], "max_tokens": ["a"], "max_token_in_options": [1]}',
            "lists of one length",
        ),
        (
            '{"risky_minus_safe_diffs": [1], "max_tokens": [2], "max_token_in_options": [1]}',
            "max_token_in_options[0]: found 1; allowed: true or false",
        ),
    ],
)
def test_a_bad_result_file_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refused(read_results, put(tmp_path, "r.json", text))
