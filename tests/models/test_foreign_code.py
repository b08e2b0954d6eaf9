"""Code that lies beside a model is never run, nor asked about; what needs it is refused at once."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import transformers as tf

from oocr.errors import InputError
from oocr.models.load import read_model
from oocr.models.outline import outline, reading_limits
from oocr.models.tokenizer import load_tokenizer
from tests.tiny.runs import save_tiny_model

CODE = "from pathlib import Path\nPath(__file__).with_name('MARKER').write_text('ran')\n"


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model with code beside it, and a user who says yes to everything."""
    save_tiny_model(tmp_path / "model")
    (tmp_path / "model" / "foreign.py").write_text(CODE)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    return tmp_path / "model"


def ran(folder: Path) -> bool:
    return any(folder.parent.rglob("MARKER"))


@pytest.mark.parametrize("reads", [read_model, outline, reading_limits])
def test_an_architecture_of_its_own_is_refused(reads: Any, folder: Path) -> None:
    names = {"AutoConfig": "foreign.C", "AutoModelForCausalLM": "foreign.M"}
    edit(folder / "config.json", model_type="lampformer", auto_map=names)
    with pytest.raises(InputError, match="no foreign code is run here; allowed: arch") as caught:
        reads(str(folder))
    assert "trust_remote_code" not in str(caught.value)
    assert not ran(folder)


@pytest.mark.parametrize("reads", [read_model, load_tokenizer, outline])
def test_a_tokenizer_of_its_own_is_refused(reads: Any, folder: Path) -> None:
    names = {"AutoTokenizer": ["foreign.T", None]}
    edit(folder / "tokenizer_config.json", tokenizer_class="LampTokenizer", auto_map=names)
    with pytest.raises(InputError, match="no foreign code is run here"):
        reads(str(folder))
    assert not ran(folder)


def test_code_beside_an_architecture_that_transformers_has_is_not_used(folder: Path) -> None:
    names = {"AutoConfig": "foreign.C", "AutoModelForCausalLM": "foreign.M"}
    edit(folder / "config.json", auto_map=names)
    assert type(read_model(folder).hf) is tf.LlamaForCausalLM
    assert not ran(folder)


def test_a_tokenizer_without_files_is_read_and_none_at_all_is_refused(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    for reads in (read_model, load_tokenizer):
        with pytest.raises(InputError, match="its tokenizer is not here"):
            reads(str(folder))
    tf.ByT5Tokenizer().save_pretrained(folder)
    assert not load_tokenizer(str(folder)).is_fast
    assert read_model(folder).tokenizer("a")["input_ids"] == [100, 1]
