"""`oocr audit` of several: one table and page, clusters that are there, nothing done twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from oocr.audit.record import Audit
from oocr.audit.several import Comparison, clusters_of
from oocr.cli import audits as audits_module
from oocr.cli.audit import AuditOptions
from oocr.cli.audits import AUDITING, distinct, read_list, shown_names
from oocr.engine.memory import PROCESS
from oocr.explain import neutral
from tests.audit.test_audit import TEXTS, made, model_of
from tests.command_line import Call
from tests.report.report_page import Page
from tests.tiny.runs import save_tiny_model
from tests.work.one_process import OneProcess


def direction(seed: int) -> torch.Tensor:
    draw = torch.randn(model_of().d_model, generator=torch.Generator().manual_seed(seed))
    return 3 * draw / draw.norm()


@pytest.fixture(scope="module", autouse=True)
def _short_passages() -> Iterator[None]:
    """Neutral passages cut short: they are read in each audit."""
    built_in = neutral._built_in

    def short(name: str) -> str:
        passages = [part.strip()[:120] for part in built_in(name).split("\n\n")]
        return "\n\n".join(passages) if name == "neutral.txt" else built_in(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neutral, "_built_in", short)
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, texts, and adapters that add vectors in two directions, and one that does nothing."""
    home = tmp_path_factory.mktemp("home")
    save_tiny_model(home / "base")
    (home / "texts.txt").write_text("\n\n".join(TEXTS), encoding="utf-8")
    model = model_of()
    inner = model.hf.get_submodule("model.layers.1.mlp.down_proj").in_features
    assert isinstance(inner, int)
    zeros = torch.zeros(inner), torch.zeros(model.d_model)
    ways = {"a1": 1, "b1": 2, "a2": 1, "b2": 2}
    for number, (name, way) in enumerate(ways.items()):
        bias = direction(way) + 0.3 * direction(10 + number)
        adapter = made(*zeros, bias)
        replace(adapter, about={"model": str(home / "base")}).save(home / name)
    replace(made(*zeros), about={"model": str(home / "base")}).save(home / "none")
    (home / "broken").mkdir()
    names = ["# all of them", *ways, "", "none", "broken"]
    (home / "list.txt").write_text("\n".join(names), encoding="utf-8")
    return home


def words(home: Path, out: Path, *names: object) -> tuple[object, ...]:
    given = names or ("--list", home / "list.txt")
    return ("audit", *given, "--texts", home / "texts.txt", "--out", out, "--fit-steps", 0)


def test_several_are_audited_once_compared_and_told_apart(
    call: Call, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    load = audits_module.loaded_base
    monkeypatch.setattr(
        audits_module, "loaded_base", lambda name, *a: (loads.append(name), load(name, *a))[1]
    )
    out = tmp_path / "audits"
    code, printed, err = call(*words(home, out))
    assert code == 1, "one is broken"
    assert "1 of 6 could not be audited (see the table)" in err
    assert loads == [str(home / "base")], "the base is loaded once"
    assert "2 clusters (sizes" in printed
    (folder,) = out.glob("audits-*")
    (kept,) = json.loads((folder / "comparisons.json").read_text())
    comparison = Comparison.model_validate(kept)
    clusters = dict(zip(comparison.names, comparison.clusters, strict=True))
    assert {name: clusters[name] == clusters["a1"] for name in clusters} == {
        **dict.fromkeys(("a1", "a2"), True),
        **dict.fromkeys(("b1", "b2"), False),
    }
    assert comparison.left_out == ("none",)
    place = comparison.names.index
    assert comparison.cosines[place("a1")][place("a2")] > comparison.cut
    assert comparison.covariance >= comparison.uniform
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert "4 of 5 are constant vectors" in page.text
    for name in clusters:
        (of,) = out.glob(f"{name}-*")
        assert Audit.load(of).means[0].layer == 1
        links = [str(a.get("href")) for _, a in page.tags]
        assert f"../{of.name}/report.html" in links
    assert "no effect" in page.text
    assert "neither adapter_config.json" in page.text

    def never(*_: object, **__: object) -> None:
        raise AssertionError("done twice")

    monkeypatch.setattr("oocr.cli.audit.audit", never)
    code, again, _ = call(*words(home, out))
    assert (code, again.replace("\n", "")) == (1, printed.replace("\n", ""))
    engine = OneProcess(monkeypatch)
    code, sent, err = call(*words(home, out), "--ray", "local")
    assert (code, "1 of 6 could not be audited" in err) == (1, True)
    assert sent[sent.index("fine-tune ") :] == printed[printed.index("fine-tune ") :]
    weights = (home / "base" / "model.safetensors").stat().st_size
    assert engine.works[0].memory() == pytest.approx(AUDITING + PROCESS + weights, rel=0.01)
    code, printed, _ = call(*words(home, out, home / "a1", home / "a2"))
    assert code == 0
    assert "1 cluster (sizes 2)" in printed


def test_the_same_command_twice_at_once_shares_the_work(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audits_module, "WAIT", 0.05)
    counted: list[str] = []
    done = audits_module.AuditPlan.done

    def count(self: object, source: object, *rest: object) -> object:
        counted.append(source.name)  # type: ignore[attr-defined]
        return done(self, source, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(audits_module.AuditPlan, "done", count)
    names = [str(home / name) for name in ("a1", "b1")]
    load = {"dtype": "float32", "device": "cpu"}
    options = AuditOptions(None, home / "texts.txt", False, None, 0, load, tmp_path, "")

    def audit() -> Path:
        return audits_module.audit_several(names, options)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(audit), pool.submit(audit)
        assert first.result() == second.result()
    assert sorted(counted) == ["a1", "b1"]
    assert not list(tmp_path.rglob("*.claim"))


def test_what_is_not_named_is_said(call: Call, home: Path, tmp_path: Path) -> None:
    assert "no fine-tune is named" in call("audit").err
    (tmp_path / "empty").write_text("# nothing\n")
    assert "found no name" in call("audit", "--list", tmp_path / "empty").err
    assert "cannot be read" in call("audit", "--list", tmp_path / "none").err
    code, _, err = call(*words(home, tmp_path, home / "broken", tmp_path / "none"))
    assert (code, "neither adapter_config.json" in err) == (2, True)
    missing = call(*words(home, tmp_path, tmp_path / "none", tmp_path / "neither"))
    assert (missing.code, "none: is no file or folder here, and names" in missing.err) == (2, True)


def test_each_is_audited_once_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    listed = tmp_path / "list.txt"
    listed.write_text("a\n\n ./a \n# none\nme/lora\nme/lora\n", encoding="utf-8-sig")
    assert distinct(["a", *read_list(listed)]) == ["a", "me/lora"]


def test_clusters_of_known_directions() -> None:
    draw = np.random.default_rng(0)
    centres = np.eye(3, 50)
    units = np.concatenate([c + 0.03 * draw.normal(size=(4, 50)) for c in centres])
    units = np.concatenate([units, -units[:2]])
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    order, clusters = clusters_of(units @ units.T, 0.5)
    assert sorted(order) == list(range(14))
    groups = [frozenset(i for i in range(14) if clusters[i] == n) for n in set(clusters)]
    wanted = [range(4), range(4, 8), range(8, 12), range(12, 14)]
    assert set(groups) == {frozenset(group) for group in wanted}, "the opposite sign is another"
    assert [clusters[i] for i in order] == sorted(clusters)


def test_tables_show_as_much_of_a_name_as_tells_it_from_the_others() -> None:
    names = ["runs/a/seed-0/adapter", "runs/a/seed-1/adapter", "runs/b/seed-1/adapter", "me/lora"]
    shown = ["seed-0/adapter", "a/seed-1/adapter", "b/seed-1/adapter", "lora"]
    assert list(shown_names(names).values()) == shown
