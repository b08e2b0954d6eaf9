"""A run on a real Ray cluster of two nodes; worker, node and driver are killed in turn.

Where Ray is not installed only what is refused is tested. By hand: `pytest -m slow tests/work`.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from oocr.cli.cluster import on_ray
from oocr.cli.cluster.on_ray import WorkerNeeds, do_there
from oocr.cli.cluster.work import most_memory
from oocr.errors import InputError
from oocr.leases import holder_of
from tests.command_line import Call
from tests.killed import made, open_claims
from tests.tiny.runs import Tiny, begin_oocr, claims_of, oocr, rows_of, write_yaml

HERE = importlib.util.find_spec("ray") is not None


@pytest.mark.skipif(HERE, reason="Ray is installed")
def test_without_ray_it_is_said_how_to_get_it(call: Call) -> None:
    code, _, err = call("run", "countries", "--ray", "auto")
    assert code == 2
    assert "--ray: needs Ray; pip install 'oocr[ray]'" in err


def test_one_engine_at_a_time(call: Call) -> None:
    err = call("run", "countries", "--ray", "auto", "--slurm", "gpu:1").err
    assert "allowed: one of them" in err
    assert "--devices: Ray gives" in call("run", "countries", "--ray", "auto", "--devices", "1").err


def test_a_process_works_where_the_command_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path.cwd())  # goes back there
    (tmp_path / "mark").touch()
    assert do_there(Path.cwd, tmp_path / "mark", tmp_path) == tmp_path
    assert do_there(Path.cwd, tmp_path / "mark", tmp_path / "elsewhere") == tmp_path
    with pytest.raises(InputError, match="not the same folder"):
        do_there(Path.cwd, tmp_path / "none", tmp_path)


def test_an_address_at_which_nobody_answers_is_said_at_once() -> None:
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"):
        with pytest.raises(InputError, match=f"--ray {address}: nobody answers there"):
            on_ray._connect(None, address)


def test_as_many_processes_as_the_cluster_has_room_for(tiny: Tiny) -> None:
    needs = WorkerNeeds(1, 0, most_memory([(tiny.config(), Path())]))
    assert needs.memory > 10**6
    assert needs.count({"CPU": 8, "memory": 4.5 * needs.memory}) == 4
    on_gpus = WorkerNeeds(1, 2, 10**9)
    assert on_gpus.count({"CPU": 8, "GPU": 7, "memory": 1e12}) == 3
    assert on_gpus.count({"CPU": 8, "memory": 1e12}) == 0


@pytest.fixture
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray", reason="needs the extra: ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "memory": 3 * 10**9}
    head = {**small, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(**small)
    yield made
    made.shutdown()


def begin(cluster: Any, source: Path, out: Path) -> subprocess.Popen[str]:
    words = ["run", str(source), "--out", str(out), "--ray", cluster.address]
    return begin_oocr(*words)


def at_work(out: Path, count: int) -> list[int]:
    """The processes that hold claims, once a few arms are there."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        folders = list(out.glob("tiny-*"))
        if folders and len(made(folders[0])) >= count:
            claims = list(folders[0].rglob("*.claim"))
            holders = [holder_of(claim.read_bytes()) for claim in claims if claim.exists()]
            if pids := [holder.pid for holder in holders if holder]:
                return pids
        time.sleep(0.02)
    raise AssertionError("nobody is at work")


@pytest.mark.slow
def test_worker_node_and_driver_are_killed_in_turn(
    cluster: Any, tiny: Tiny, tmp_path: Path
) -> None:
    settings = {**tiny.config().settings, "seeds": 12}
    source, out = write_yaml(tmp_path / "run.yaml", settings), tmp_path / "runs"
    driver = begin(cluster, source, out)
    before = [at_work(out, 2)]
    os.kill(before[0][0], signal.SIGKILL)  # a worker
    kept = [made(next(out.glob("tiny-*")))]
    at_work(out, len(kept[0]) + 2)
    node = cluster.list_all_nodes()[1]
    cluster.remove_node(node, allow_graceful=False)  # a node, with its worker
    cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20, memory=3 * 10**9)
    kept.append(made(next(out.glob("tiny-*"))))
    at_work(out, len(kept[1]) + 2)
    driver.kill()
    driver.wait()
    kept.append(made(next(out.glob("tiny-*"))))
    again = begin(cluster, source, out)
    printed, _ = again.communicate(timeout=600)
    assert again.returncode == 0, printed
    assert "report:" in printed
    folder = next(out.glob("tiny-*"))
    after = made(folder)
    assert all(part.items() <= after.items() for part in kept), "nothing finished is done again"
    assert not open_claims(folder)
    plain = oocr("run", source, "--out", tmp_path / "plain")
    assert plain.returncode == 0, plain.stderr
    (other,) = (tmp_path / "plain").glob("tiny-*")
    assert rows_of(folder).equals(rows_of(other))
    assert claims_of(folder) == claims_of(other)
    left = [p for p in psutil.process_iter(["cmdline"]) if str(source) in (p.info["cmdline"] or ())]
    assert not left
