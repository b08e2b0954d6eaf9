"""`oocr work` on a real S3 server, of processes that share no folder; one is killed, one joins.

By hand, with the extra `s3` and `pip install 'moto[server]'`: `pytest -m slow
tests/work/test_s3.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oocr.leases import holder_of
from oocr.stores import UrlStore, open_url
from tests.tiny.runs import Tiny, begin_oocr, claims_of, oocr, rows_of, write_yaml
from tests.work.s3_server import BUCKET, S3Server, s3_server

pytestmark = pytest.mark.slow
URL = f"s3://{BUCKET}/runs"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    pytest.importorskip("s3fs", reason="needs the extra: s3")
    pytest.importorskip("moto.server", reason="needs moto[server]")
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()  # of another test's server
    with s3_server() as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


def begin(source: Path | str, local: Path, *words: str) -> subprocess.Popen[str]:
    command = ["work", str(source), "--local", str(local), "--workers", "1", *words]
    return begin_oocr(*command)


def at_work(url: UrlStore, pid: int, count: int) -> dict[str, float]:
    """Finished parts and markers with their times, once so many are there and it holds a job."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        claims = url.find("*/work/*/*/*.claim")
        finished = url.find("*/arms/*.zip") + url.find("*/work/*/*/*.done")
        if len(finished) >= count:
            for name in claims:
                try:
                    holder = holder_of(url.read(name))
                except FileNotFoundError:
                    continue
                if holder and holder.pid == pid:
                    return {name: url.written(name) for name in finished}
        time.sleep(0.05)
    raise AssertionError("nobody is at work")


def test_a_killed_process_and_one_that_joins(server: S3Server, tiny: Tiny, tmp_path: Path) -> None:
    source = write_yaml(tmp_path / "run.yaml", {**tiny.config().settings, "seeds": 12})
    two = [begin(source, tmp_path / name, "--out", URL, "--lease", "5") for name in "ab"]
    url = open_url(URL)
    before = at_work(url, two[0].pid, 12)
    os.kill(two[0].pid, signal.SIGKILL)
    two[0].communicate()
    (config,) = url.find("*/config.yaml")
    address = f"{url}/{config.partition('/')[0]}"
    status = oocr("status", address)
    assert status.returncode == 0, status.stderr
    assert "will be done by another" in status.stdout or "in work" in status.stdout
    third = begin(address, tmp_path / "c")
    for process in (two[1], third):
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0, printed
        assert f"shared: {address}/report.html" in printed
        assert "no-such-secret" not in printed
    archives, markers = url.find("*/arms/*.zip"), url.find("*/work/*/*/*.done")
    for name, written in before.items():
        assert url.written(name) == written, "nothing finished is done again"
    assert len(archives) <= server.requests["PUT zip"] <= len(archives) + 8
    for claim in url.find("*/work/*/*/*.claim"):
        assert f"{claim.rsplit('.', 2)[0]}.done" in markers
    plain = oocr("run", source, "--out", tmp_path / "plain")
    assert plain.returncode == 0, plain.stderr
    (other,) = (tmp_path / "plain").glob("tiny-*")
    for name in "bc":
        (folder,) = (tmp_path / name).glob("tiny-*")
        assert rows_of(folder).equals(rows_of(other))
        assert claims_of(folder) == claims_of(other)
    print(dict(server.requests), f"{len(markers)} jobs, {len(archives)} parts")
    assert "no-such-secret" not in "".join(
        path.read_text(errors="ignore") for path in tmp_path.rglob("*") if path.is_file()
    )


def test_requests_of_one_process(server: S3Server, tiny: Tiny, tmp_path: Path) -> None:
    source = write_yaml(tmp_path / "run.yaml", {**tiny.config().settings, "seeds": 12})
    process = begin(source, tmp_path / "a", "--out", URL)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 0, printed
    url = open_url(URL)
    jobs, parts = len(url.find("*/work/*/*/*.done")), len(url.find("*/arms/*.zip"))
    requests = sum(server.requests.values())
    print(dict(server.requests), f"{requests} requests, {jobs} jobs, {parts} parts")
    assert requests < 6 * jobs + parts + 150


def test_a_server_that_ignores_conditions_is_refused(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs", reason="needs the extra: s3")
    pytest.importorskip("moto.server", reason="needs moto[server]")
    source = write_yaml(tmp_path / "run.yaml", tiny.config().settings)
    with s3_server(checks=False) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        ended = oocr("work", source, "--out", URL, "--local", tmp_path / "a")
        assert ended.returncode == 2
        assert "this server does not check the condition" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
        assert not server.requests["PUT yaml"], "nothing was begun"
