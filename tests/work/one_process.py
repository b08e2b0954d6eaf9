"""An engine of one process, in place of a real one: what is sent is pickled, as they do."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from oocr.cli.cluster import launch
from oocr.cli.cluster.shared_work import SharedWork, Waiting


class OneProcess:
    """Does works in this process; `works` are those that were sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.works: list[SharedWork[Any]] = []
        monkeypatch.setattr(launch, "run_on_ray", self.run)

    def run(self, address: str, waiting: Waiting) -> Any:
        self.works.append(waiting.work)
        do = pickle.loads(pickle.dumps(waiting.work.do))
        return pickle.loads(pickle.dumps(do()))
