"""`oocr audit`: what it prints, writes and refuses, on adapters whose answer is known."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch

from oocr.audit.record import Audit
from oocr.cli import main as cli
from oocr.models.language_model import LanguageModel
from oocr.steering.adapters import Adapter
from oocr.steering.vectors import Vector
from tests.audit.test_audit import TARGET, TEXTS, direction, inputs_of, made, model_of
from tests.command_line import Call
from tests.report.report_page import Page, strings


def zeros(model: LanguageModel) -> tuple[torch.Tensor, torch.Tensor]:
    inner = model.hf.get_submodule(TARGET).in_features
    assert isinstance(inner, int)
    return torch.zeros(inner), torch.zeros(model.d_model)


def constant(home: Path) -> Adapter:
    model = model_of()
    adapter = made(*zeros(model), direction(model))
    return replace(adapter, about={"model": str(home / "base")})


def folder_in(out: str) -> Path:
    match = re.search(r"^report\s+(.*)/report\.html$", out, re.MULTILINE)
    assert match, out
    return Path(match[1])


def test_a_constant_vector_is_found_told_and_written(
    call: Call, home: Path, tmp_path: Path
) -> None:
    given = constant(home).save(tmp_path / "my adapter")
    words = ("audit", given, "--texts", home / "texts.txt", "--out", tmp_path / "audits")
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert "A constant vector: at block 1 one vector" in out
    assert "acts in block 1;" in out
    assert "6 texts" in out
    assert re.search(r"→ 1 +100 % +\[100, 100\] +1\.00 +1\.00 +1\.00", out)
    folder = folder_in(out)
    assert re.fullmatch(r"my-adapter-[0-9a-f]{8}", folder.name)
    vector = Vector.load(folder / "vector.safetensors", model_of())
    assert (vector.layer, vector.positions) == (1, "all")
    torch.testing.assert_close(vector.direction, direction(model_of()), rtol=1e-3, atol=1e-4)
    record = Audit.load(folder)
    assert record.kind == "constant"
    assert record.at_best.recovered > 0.99
    assert record.info.facts["Besides B A"] == "a bias after B"
    assert record.cost.kl_vector == pytest.approx(record.cost.kl_changed, rel=1e-3)
    blocks = pl.read_parquet(folder / "blocks.parquet")
    assert blocks["layer"].to_list() == [1, 2, 3]
    assert blocks.filter("best")["layer"].to_list() == [1]
    # The same audit has the same folder and the same numbers; another adapter another folder.
    before = json.loads((folder / "audit.json").read_text())
    assert folder_in(call(*words)[1]) == folder
    after = json.loads((folder / "audit.json").read_text())
    assert {k: v for k, v in before.items() if k != "info"} == {
        k: v for k, v in after.items() if k != "info"
    }
    weaker = {k: 0.5 * tensor for k, tensor in constant(home).tensors.items()}
    replace(constant(home), tensors=weaker).save(tmp_path / "weaker" / "my adapter")
    words = (words[0], tmp_path / "weaker" / "my adapter", *words[2:])
    assert folder_in(call(*words)[1]) != folder


def test_the_page_says_it_all_and_needs_nothing_else(
    call: Call, home: Path, tmp_path: Path
) -> None:
    given = constant(home).save(tmp_path / "a<b>&c")
    _, out, _ = call("audit", given, "--texts", home / "texts.txt", "--out", tmp_path / "audits")
    folder = folder_in(out)
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    record = Audit.load(folder)
    assert record.verdict in page.text
    assert "a<b>&c" in page.text
    for word in ("Block by block", "Token by token", "What gates it", "Words used", "to swap"):
        assert word in page.text
    links = [str(a[k]) for _, a in page.tags for k in ("src", "href") if a.get(k)]
    assert links == ["blocks.parquet", "tokens.parquet"]
    assert all((folder / link).is_file() for link in links)
    assert len(page.of_class("t")) == sum(len(strip.tokens) for strip in record.strips)
    (views,) = page.specs()
    traces = [trace for panel in views[0]["panels"] for trace in panel["traces"]]
    mean = next(trace for trace in traces if trace["meta"] == "mean")
    assert mean["y"][0] == pytest.approx(record.blocks[0].recovered, rel=1e-4)
    assert {"cosine", "absolute", "energy"} <= {trace["meta"] for trace in traces}
    colours = {string[1:].split("/")[0] for string in strings(views) if string.startswith("@")}
    css = (Path(cli.__file__).parents[1] / "report" / "page" / "page.css").read_text()
    assert all(f"--{colour}:" in css for colour in colours)


def test_a_sign_flip_and_a_gate_are_told_apart_from_a_vector(
    call: Call, home: Path, tmp_path: Path
) -> None:
    model = model_of()
    x, tokens = inputs_of(model)
    a = torch.linalg.svd(x - x.mean(dim=0)).Vh[0]
    a = a - (a @ x.mean(dim=0)) / x.mean(dim=0).square().sum() * x.mean(dim=0)
    wanted = torch.tensor([1.0 if "city" in token else 0.0 for token in tokens])
    gate = torch.linalg.lstsq(x, wanted[:, None], driver="gelsd").solution[:, 0]
    flip = made(a / (x @ a).std(), direction(model, 4.0)).save(tmp_path / "flip")
    gated = made(gate, direction(model, 6.0)).save(tmp_path / "gated")
    options = ("--model", home / "base", "--texts", home / "texts.txt", "--out", tmp_path / "a")
    code, out, _ = call("audit", flip, *options, "--fit-steps", 0)
    assert code == 0
    assert "Not a constant vector" in out
    record = Audit.load(folder_in(out))
    assert record.blocks[0].absolute == pytest.approx(1, abs=1e-3)
    assert record.fitted is None
    _, out, _ = call("audit", gated, *options)
    assert "Not a constant vector" in out
    assert re.search(r"gated by +' city'", out)


def test_an_adapter_that_does_nothing_has_a_page_too(
    call: Call, home: Path, tmp_path: Path
) -> None:
    given = made(*zeros(model_of())).save(tmp_path / "nothing")
    options = ("--model", home / "base", "--texts", home / "texts.txt", "--out", tmp_path / "a")
    code, out, _ = call("audit", given, *options)
    assert code == 0
    assert "next to nothing" in out
    folder = folder_in(out)
    assert Audit.load(folder).kind == "nothing"
    assert "No effect on these texts" in (folder / "report.html").read_text()


def test_of_too_few_texts_no_interval_is_shown(call: Call, home: Path, tmp_path: Path) -> None:
    given = constant(home).save(tmp_path / "few")
    (tmp_path / "texts.txt").write_text("\n\n".join(TEXTS[:3]), encoding="utf-8")
    options = ("--model", home / "base", "--texts", tmp_path / "texts.txt", "--out", tmp_path / "a")
    code, out, _ = call("audit", given, *options)
    assert code == 0
    assert "Too few texts for an interval" in out
    assert "[–, –]" in out
    assert "nan" not in out
    assert "[–, –]" in (folder_in(out) / "report.html").read_text()
