"""Odd architectures pass, fall back, or are refused with one sentence; none ends in a traceback.

`python -m benchmarks.architectures` tries all of them; docs/architectures.md has the table.
"""

from __future__ import annotations

import pytest
from benchmarks.architectures import PAGE, examine

from tests.tiny.models import tiny_tokenizer

EXPECTED = {
    "biogpt": "pass",
    "ctrl": "pass",
    "deepseek_v3": "pass",
    "gemma4_text": "pass",
    "gpt_oss": "pass",
    "nanochat": "pass",
    "opt (350M)": "pass",
    "xglm": "pass",
    "bamba": "in depth",
    "deepseek_v32": "in depth",
    "falcon_h1": "in depth",
    "granitemoehybrid": "in depth",
    "jamba": "in depth",
    "lfm2": "in depth",
    "longcat_flash": "in depth",
    "mamba": "in depth",
    "nemotron_h": "in depth",
    "olmo_hybrid": "in depth",
    "openai-gpt": "in depth",
    "qwen3_5": "in depth",
    "qwen3_next": "in depth",
    "recurrent_gemma": "in depth",
    "rwkv": "in depth",
    "gemma4 (shared keys)": "whole",
    "bert": "refused",
    "deepseek_v4": "refused",
    "gemma3n": "refused",
    "minimax": "refused",
    "modernbert-decoder": "refused",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_odd_architecture_is_used_or_refused(name: str) -> None:
    row = examine(name, tiny_tokenizer())
    assert row.verdict == EXPECTED[name], row.why
    if row.verdict == "refused":
        assert len(row.why) < 400
        assert "\n" not in row.why


def test_the_page_knows_no_traceback() -> None:
    assert "TRACEBACK" not in PAGE.read_text(encoding="utf-8")
