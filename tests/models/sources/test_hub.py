"""`id@revision`, wherever a model is named."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub.constants as hub
import pytest

from oocr.cli.options import Overrides
from oocr.cli.run import apply
from oocr.errors import InputError
from oocr.models.load import read_model
from oocr.models.outline import outline
from oocr.models.sources.hub import with_revision
from oocr.models.tokenizer import load_tokenizer
from oocr.runs.read_config import revalidate
from tests.tiny.runs import save_tiny_model, write_task

OLD, NEW = "0" * 40, "1" * 40


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """me/tiny in a Hugging Face cache, its commit of `main` and an older one; no network."""
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--me--tiny"
    save_tiny_model(repository / "snapshots" / OLD, seed=1)
    save_tiny_model(repository / "snapshots" / NEW, seed=0)
    (repository / "refs").mkdir()
    for name, commit in (("main", NEW), ("v1", OLD)):
        (repository / "refs" / name).write_text(commit)
    return repository


def test_a_revision_may_stand_in_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_revision("me/tiny") == ("me/tiny", None)
    assert with_revision("me/tiny@v1") == ("me/tiny", "v1")
    assert with_revision("me/tiny@refs/pr/3") == ("me/tiny", "refs/pr/3")
    assert with_revision("me/tiny@v1", "v1") == ("me/tiny", "v1")
    for path in ("./a@b", "/a@b", "a/b@c.gguf"):
        assert with_revision(path) == (path, None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder@2").mkdir()
    assert with_revision("folder@2") == ("folder@2", None)
    with pytest.raises(InputError, match="found no revision after @"):
        with_revision("me/tiny@")
    with pytest.raises(InputError, match=r"revision: found 'v2' beside 'me/tiny@v1'"):
        with_revision("me/tiny@v1", "v2")
    with pytest.raises(InputError, match=r"me/tiny: an address; allowed: an id, as google"):
        with_revision("https://huggingface.co/me/tiny")


def test_the_model_of_that_revision_is_loaded(hub_cache: Path) -> None:
    assert hub_cache.is_dir()
    main, old = read_model("me/tiny"), read_model("me/tiny@v1")
    assert (main.source["revision"], old.source["revision"]) == (NEW, OLD)
    assert main.fingerprint != old.fingerprint == read_model("me/tiny", revision=OLD).fingerprint
    assert old.name == "me/tiny"
    assert len(load_tokenizer("me/tiny@v1")) == len(main.tokenizer)
    assert outline("me/tiny@v1").n_blocks == 4
    with pytest.raises(InputError, match="v2"):
        read_model("me/tiny@v2")
    with pytest.raises(InputError, match="only a Hugging Face id has revisions, not nano"):
        read_model("nano@v1")


def test_a_run_s_model_and_an_option_may_name_it(tmp_path: Path) -> None:
    data = {"task": write_task(tmp_path), "model": "me/tiny@v1"}
    config = revalidate(data, "x")
    assert (config.model, config.revision) == ("me/tiny", "v1")
    assert revalidate(config.model_dump(), "x") == config
    for option, revision in (("me/tiny@v2", "v2"), ("me/tiny", "v1"), ("me/other", None)):
        changed = apply(config, Overrides(model=option))
        assert (changed.model, changed.revision) == (option.split("@")[0], revision)
    with pytest.raises(InputError, match="revision: found 'v3' beside"):
        revalidate({**data, "revision": "v3"}, "x")
