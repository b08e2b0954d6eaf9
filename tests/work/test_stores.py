"""A store at a URL: files with one author, claims as in a folder, clear words where it refuses."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from oocr import leases, stores
from oocr.errors import InputError
from oocr.io import KEY, new_folder
from oocr.leases import Claims, board_of, claim_name
from oocr.stores import StoreError, UrlStore, check_exclusive, open_url, store_of
from oocr.work.mirror import Mirror
from tests.work.exclusive import URL, Exclusive


@pytest.mark.parametrize(
    "address", ["memory://x/y", "file:///tmp/x", "http://a/b", "s3://", "s3://a/../b"]
)
def test_an_address_where_processes_cannot_share_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=r"allowed: .*(s3://, gs://|s3://BUCKET/FOLDER)"):
        open_url(address)
    with pytest.raises(InputError, match=r"^s3://…: a colon .* not in the address$"):
        open_url("s3://key:secret@bucket/runs")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(InputError, match=r"^s3://a/b: needs a library; pip install 'oocr\[s3\]'$"):
        open_url("s3://a/b")


def test_a_server_that_does_not_check_the_condition_is_refused(
    files: type[Exclusive], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_exclusive(open_url(URL))
    monkeypatch.setattr(files, "checks", False)
    with pytest.raises(InputError, match=r"^exclusive://bucket/runs: of 9 attempts .* 9 were told"):
        check_exclusive(open_url(URL))
    assert open_url(URL).names() == [], "nothing is left"
    files.fails["create"] = FileNotFoundError("bucket")
    with pytest.raises(InputError, match="no such bucket"):
        check_exclusive(open_url(URL))


def test_files_of_a_url(files: type[Exclusive]) -> None:
    store = store_of("exclusive:/bucket/runs/x")  # as a path has it
    assert str(store) == f"{URL}/x"
    assert store.names() == []
    assert store.create("a", b"1")
    assert not store.create("a", b"2")
    store.write("b/c.json", b"3")
    store.renew("a", b"4")
    assert store.read("a") == b"4"
    assert store.names() == ["a"]
    assert store.find("*/c.json") == ["b/c.json"]
    assert store.below("b").names() == ["c.json"]
    assert store.written("a") > 0
    store.remove("a")
    store.remove("a")
    with pytest.raises(FileNotFoundError):
        store.read("a")


def test_what_fails_for_a_while_is_tried_again_and_then_said(files: type[Exclusive]) -> None:
    store = open_url(URL)
    files.fails["write"] = OSError(errno.EBUSY, "slow down")
    with pytest.raises(StoreError, match=r"runs cannot be read or written \(OSError: .*slow down"):
        store.write("a", b"")
    assert files.calls["write"] == 1 + len(stores.WAITS)
    files.fails["create"] = PermissionError("Access Denied")
    with pytest.raises(StoreError, match=r"Access Denied.*the same command continues"):
        store.create("a", b"")
    assert files.calls["create"] == 1, "this does not pass"
    with pytest.raises(StoreError):
        store.renew("a", b"")
    assert files.calls["write"] == 2 + len(stores.WAITS), "there is another heartbeat soon"


def test_an_author_whose_answer_was_lost_is_the_author(files: type[Exclusive]) -> None:
    files.fails["answer"] = OSError(errno.ETIMEDOUT, "timed out")
    store = open_url(URL)
    assert store.create("a", b"mine")
    assert not store.create("a", b"yours")


def test_claims_at_a_url(files: type[Exclusive], monkeypatch: pytest.MonkeyPatch) -> None:
    now, stores_of = [0.0], [open_url(URL) for _ in range(16)]
    everyone = [Claims(60, lambda: now[0]) for _ in stores_of]

    def take(number: int) -> object:
        return everyone[number].take(stores_of[number], "a", 0, "job a")

    with ThreadPoolExecutor(16) as pool:
        claims = list(pool.map(take, range(16)))
    (claim,) = [c for c in claims if isinstance(c, leases.Claim)]
    store, watcher = open_url(URL), Claims(60, lambda: now[0])
    monkeypatch.setattr(leases, "_place", lambda: "another machine")
    for _ in range(5):
        now[0] += 50
        claim.beat(now[0])
        assert watcher.next(store, ["a"], board_of(store), str) is None
    now[0] += 61
    taken = watcher.next(store, ["a"], board_of(store), str)
    assert taken is not None
    assert taken.number == 1
    watcher.release(taken, seconds=1.0)
    claim.beat(now[0])  # late: its file is there again, and nobody heeds it
    assert sorted(store.names()) == [claim_name("a", 0), "a.done"]
    assert board_of(store).claimed == {}


def part(folder: Path, name: str, key: str, text: str) -> None:
    with new_folder(folder / "arms" / name) as made:
        (made / "adapter").mkdir()
        (made / "adapter" / "x.txt").write_text(text)
        (made / KEY).write_text(key)


def test_parts_go_there_and_come_from_there(files: type[Exclusive], tmp_path: Path) -> None:
    url = open_url(URL)
    here, there = Mirror(tmp_path / "1", url), Mirror(tmp_path / "2", url)
    old, new = "0" * 16, "1" * 16
    part(here.folder, "lr0.1-s0", old, "one")
    (here.folder / "selection.json").write_text("{}")
    here.push(("selection.json", "missing.json"))
    here.push()
    assert files.calls["upload"] == 2, "once each"
    part(there.folder, "lr0.1-s1", old, "two")
    there.exchange(("selection.json",))
    assert (there.folder / "arms" / "lr0.1-s0" / "adapter" / "x.txt").read_text() == "one"
    assert (there.folder / "selection.json").read_text() == "{}"
    assert sorted(url.below("arms").names()) == [f"lr0.1-s{n}.{old}.zip" for n in (0, 1)]
    again = Mirror(there.folder, url)
    files.calls.clear()
    again.exchange()
    assert (files.calls["upload"], files.calls["download"]) == (0, 0), "all is known"
    (there.folder / "arms" / "lr0.1-s0").rename(tmp_path / "gone")
    part(there.folder, "lr0.1-s0", new, "changed")
    again.push()
    here.exchange()
    assert (here.folder / "arms" / "lr0.1-s0" / "adapter" / "x.txt").read_text() == "changed"
    assert (here.folder / "arms" / "lr0.1-s1" / KEY).read_text() == old
    assert f"lr0.1-s0.{old}.zip" not in url.below("arms").names()


def test_names_that_lead_elsewhere_are_not_unpacked(files: type[Exclusive], tmp_path: Path) -> None:
    url = open_url(URL)
    url.write(f"arms/...{'0' * 16}.zip", b"")
    url.write(f"arms/x.{'0' * 16}.zip", b"no archive")
    mirror = Mirror(tmp_path / "run", url)
    with pytest.raises(RuntimeError, match="no zip archive; remove it"):
        mirror.pull()
    assert [path.name for path in (tmp_path / "run" / "arms").iterdir()] == []
    assert isinstance(mirror.store, UrlStore)
