"""The Hub, by a stand-in: publishing, and files from it wherever a path is taken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from oocr.errors import InputError, RunError
from oocr.hub_files import HubPath, hub_path, spelled
from oocr.models.sources.bundled import NamedModel
from oocr.publish import base_model as base_of
from oocr.publish.contents import is_local
from oocr.publish.upload import check_access, check_repository, upload
from oocr.steering.vectors import Vector
from tests.command_line import Call
from tests.publish.hub_stand_in import HubStandIn
from tests.tiny.runs import environment

ROWS = [{"prompt": f"the country of place-{n} is", "answer": f" country-{n}"} for n in range(1, 6)]
PROBE = {"prompt": "the food of place-9 is", "answer": " food-1", "options": [" food-1", " food-2"]}


@pytest.fixture(scope="module")
def hub() -> Iterator[HubStandIn]:
    stand_in = HubStandIn()
    rows = "".join(json.dumps(row) + "\n" for row in ROWS)
    stand_in.add("me/base", {"config.json": b"{}"}).licence = "mit"
    stand_in.add("datasets/me/rows", {"train.jsonl": rows.encode()})
    yield stand_in
    stand_in.close()


@pytest.fixture(scope="module")
def home(nano_run: Path) -> Path:
    """The folder of the folder of runs."""
    return nano_run.parent.parent


@pytest.fixture(scope="module")
def results(hub: HubStandIn, home: Path) -> dict[str, Any]:
    """What `tests.publish.hub_client` got, in a process that knows the stand-in only."""
    (home / "probes.jsonl").write_text(json.dumps(PROBE), encoding="utf-8")
    variables = {**environment(), "HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hf")}
    variables |= {"PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "0"}
    variables |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_DATASETS_CACHE": str(home / "datasets")}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.publish.hub_client", str(home)],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return json.loads((home / "results.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_a_dry_run_shows_all_and_uploads_nothing(results: dict[str, Any], home: Path) -> None:
    code, out, err = results["dry"]
    assert (code, "nothing was uploaded" in out) == (0, True), err
    assert "vector.safetensors" in out
    assert "left out: vector.gguf: layer: found 0; llama.cpp refuses" in out
    assert (home / "kept" / "README.md").is_file()


def test_a_vector_is_uploaded_privately_in_one_commit(
    results: dict[str, Any], hub: HubStandIn
) -> None:
    code, out, err = results["vector"]
    assert (code, "me/japan (private), one commit:" in out) == (0, True), err
    repository = hub.repositories["me/japan"]
    assert (repository.private, repository.commits) == (True, 1)
    assert set(repository.files) == {"README.md", "results.json", "vector.safetensors"}
    code, _, err = results["made public"]
    assert (code, "--public: me/japan is there and private" in err) == (2, True)
    code, _, err = results["wrong token"]
    assert (code, "hf auth login" in err) == (2, True)


def test_the_card_says_what_it_is_and_what_was_found(
    results: dict[str, Any], hub: HubStandIn, home: Path
) -> None:
    card = hub.repositories["me/japan"].files["README.md"].decode()
    vector = Vector.load(next(home.glob("runs/*/arms/test-vector-*/vector.safetensors")))
    for words in (
        "block 0, block output; tokens: codename",
        vector.about["training_data"],
        vector.about["task"],
        "| claim | verdict | found |",
        "steering = oocr.read_vector('me/japan')",
        "llama.cpp: no file: layer: found 0",
        "`oocr export me/japan --to peft",
    ):
        assert words in card, words
    claims = json.loads(next(home.glob("runs/*/claims.json")).read_text(encoding="utf-8"))
    for claim in claims:
        assert f"**{claim['verdict']}**" in card
        low = f"{claim['found']['low']:.2f}"
        assert f"[{low}" in card or f"[{low.replace('-', '−')}" in card
    data = results["card"]
    assert data["library_name"] == "oocr"
    assert "steering-vector" in data["tags"]
    metrics = data["model-index"][0]["results"][0]["metrics"]
    assert [metric["value"] for metric in metrics] == [claim["found"]["value"] for claim in claims]


def test_a_vector_at_every_token_comes_as_gguf_too(
    results: dict[str, Any], hub: HubStandIn
) -> None:
    code, _, err = results["of a base"]
    assert code == 0, err
    files = hub.repositories["me/everywhere"].files
    assert files["vector.gguf"].startswith(b"GGUF")
    card = files["README.md"].decode()
    for words in (
        "base_model: me/base",
        "base_model_relation: adapter",
        "license: mit",  # what the base's own card says
        "`llama-cli -m MODEL.gguf --control-vector vector.gguf`",
    ):
        assert words in card, words


def test_nothing_of_this_machine_is_in_what_was_uploaded(
    results: dict[str, Any], hub: HubStandIn, home: Path
) -> None:
    assert results["run"][0] == 0, results["run"]
    for id in ("me/japan", "me/lora", "me/whole"):
        for name, data in hub.repositories[id].files.items():
            assert name.endswith((".safetensors", ".json", ".gguf", "README.md"))
            for folder in (home, Path.home(), Path.cwd()):
                assert f"{folder}/".encode() not in data, (name, folder)


def test_a_run_is_one_repository_of_all_its_arms(
    results: dict[str, Any], hub: HubStandIn, home: Path
) -> None:
    files = set(hub.repositories["me/whole"].files)
    arms = [path.name for path in home.glob("runs/*/arms/test-*")]
    assert len([name for name in files if name.startswith("vectors/")]) == 2
    assert len([name for name in files if name.endswith("adapter_model.safetensors")]) == 2
    assert len(arms) >= 4
    assert hub.repositories["me/whole"].commits == 1
    assert results["inside"][0] == 0, results["inside"]


def test_ids_are_taken_where_files_are(results: dict[str, Any], hub: HubStandIn) -> None:
    for name in ("read vector", "read lora", "exported", "lora"):
        code, _, err = results[name]
        assert code == 0, (name, err)
    assert results["audited"].startswith("LoRA on Hugging Face, commit ")
    assert "positions  codename" in results["read vector"][1]
    assert results["same vector"] == pytest.approx(1.0)
    assert results["to play with"] == ["VectorFile", "AuditSource", "VectorFile"]
    commit = hub.repositories["me/japan"].commit
    assert results["recorded"] == f"hf://me/japan@{commit}/vector.safetensors"
    assert results["lora recorded"] == f"hf://me/lora@{hub.repositories['me/lora'].commit}"
    data = hub.repositories["me/japan"].files["vector.safetensors"]
    assert bytes.fromhex(results["file"]) == data


def test_a_file_of_the_hub_is_read_under_its_address(results: dict[str, Any]) -> None:
    for name, title in (
        ("read lora", "hf://me/lora: LoRA, this library's"),
        ("read file", "hf://me/japan/vector.safetensors: vector, of this library"),
        ("read rows", "hf://datasets/me/rows/train.jsonl: "),
    ):
        code, out, _ = results[name]
        assert (code, out.startswith(title), "snapshots" in out) == (0, True, False), out
    code, _, err = results["read config"]
    refused = "hf://me/lora/adapter_config.json: this is the configuration of an adapter"
    assert (code, refused in err, "snapshots" in err) == (2, True, False), err


def test_other_clients_load_it(results: dict[str, Any]) -> None:
    loaded = results["loaded by"]
    assert loaded == dict.fromkeys(
        ("differs from the untouched model", "peft", "transformers"), True
    )
    assert results.get("datasets", len(ROWS)) == len(ROWS)


def test_training_rows_come_from_a_data_set_at_a_commit(
    results: dict[str, Any], hub: HubStandIn
) -> None:
    assert set(results["rows"]) <= {row["prompt"] for row in ROWS}
    commit = hub.repositories["datasets/me/rows"].commit
    assert results["resolved"] == f"hf://datasets/me/rows@{commit}/train.jsonl"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "none",
            "hf://me/none/vector.safetensors: is not here, and Hugging Face has no such repository",
        ),
        ("revision", "hf://me/japan@v9/vector.safetensors: it has no revision 'v9'"),
        ("file", "the repository has no file 'other.safetensors'"),
        ("several", "found no vector.safetensors, but vectors/"),
        ("lora", "hf://me/japan: found no adapter_config.json"),
        ("rows", "has no such data set"),
        ("address", "hf:/?/me: allowed: hf://someone/name/file"),
    ],
)
def test_what_is_not_there_is_said(results: dict[str, Any], name: str, message: str) -> None:
    import re

    assert re.search(message.replace(".", r"\."), results["refused"][name]), results["refused"]


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("someone/japan", HubPath("someone/japan")),
        ("someone/japan@v1", HubPath("someone/japan", revision="v1")),
        ("hf://datasets/a/b@r/c/d.csv", HubPath("a/b", "dataset", "r", "c/d.csv")),
        ("hf:/a/b/v.safetensors", HubPath("a/b", path="v.safetensors")),
        ("hf://a/b@refs%2Fpr%2F1/v.csv", HubPath("a/b", revision="refs/pr/1", path="v.csv")),
        ("runs/v.safetensors", None),
        ("./someone/japan", None),
        ("/a/b", None),
        ("japan", None),
        ("a/b/c", None),
    ],
)
def test_what_is_an_address_and_what_a_path(given: str, address: HubPath | None) -> None:
    assert hub_path(given) == address
    if address is not None and given.startswith("hf://"):
        assert str(address) == given == spelled(Path(given))


def test_a_path_that_is_here_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone" / "japan").mkdir(parents=True)
    assert hub_path("someone/japan") is None


def test_offline_what_the_cache_lacks_is_named_with_the_way_to_get_it(call: Call) -> None:
    code, _, err = call("vector", "someone/nothing")
    assert code == 2
    assert "HF_HUB_OFFLINE is set" in err
    assert "hf download someone/nothing vector.safetensors" in err


def test_a_base_that_is_a_path_must_be_named(call: Call, tmp_path: Path) -> None:
    about = {"model": "/models/mine", "note": "/models/mine/x", "task": "a/b"}
    file = Vector(1, "all", torch.ones(4), about=about).save(tmp_path / "v.safetensors")
    code, _, err = call("publish", file, "me/japan", "--dry-run")
    assert (code, "--base: missing; the base model is named by a path" in err) == (2, True)
    words = ("publish", file, "me/japan", "--dry-run", "--base", "google/gemma-2-2b")
    code, out, _ = call(*words, "--license", "gemma")
    assert (code, "left out: note (a path here)" in out) == (0, True)
    assert "/models/mine" not in out
    for line in ("base_model: google/gemma-2-2b", "base_model_relation: adapter", "license: gemma"):
        assert line in out
    code, _, err = call("publish", file, "me/japan", "--base", "google/gemma-2-2b")
    assert (code, "HF_HUB_OFFLINE is set: nothing can be uploaded" in err) == (2, True)
    for given, name, message in (
        (tmp_path / "none", "me/japan", "there is no such file or run"),
        (tmp_path, "me/japan", "neither run.json (a run) nor"),
        (file, "japan", "allowed: an account and a name on the Hub"),
    ):
        code, _, err = call("publish", given, name, "--dry-run")
        assert (code, message in err) == (2, True), err


def test_a_base_that_comes_with_a_package_has_its_own_licence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models = {
        name: NamedModel(name, tmp_path, licence, "pip install x")
        for name, licence in (("mine", "MIT"), ("theirs", "Some Terms"))
    }
    monkeypatch.setattr(base_of, "named_models", lambda: models)
    licences = [
        base_of.base_model({"model": name}, given=None, licence=None, online=False).licence
        for name in models
    ]
    assert licences == ["mit", None]


def test_a_hub_that_breaks_off_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("connection reset")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.whoami", lambda self: {"name": "me"})
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", broken)
    with pytest.raises(InputError, match=r"cannot be reached \(connection reset\)"):
        check_access("me/japan", public=False)
    for name in ("create_repo", "upload_folder"):
        monkeypatch.setattr(f"huggingface_hub.HfApi.{name}", broken)
    with pytest.raises(RunError, match="me/japan: not uploaded: connection reset"):
        upload(Path(), "me/japan", public=False)


def test_names_and_paths() -> None:
    for name in ("a/b--c", "a/b..c", "a", "a/b/c", "a/b.", "/b"):
        with pytest.raises(InputError):
            check_repository(name)
    paths = ("/a/b", "~/x", "C:\\x", "../x", "file:///x", "tests/publish", "rows of /mnt/x/y.csv")
    paths += ('["/data/a.pt"]',)
    assert [is_local(text) for text in paths] == [True] * len(paths)
    others = ("hf://a/b@c", "countries/capital/Japan", "gemma-3-270m", "google/gemma-3-270m")
    others += ("https://x/y", "16 (in its config)", "5 tokens/s")
    assert [is_local(text) for text in others] == [False] * len(others)
