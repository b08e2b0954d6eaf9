"""The page of `oocr play`: from a request to the first token, over HTTP.

`python -m benchmarks.first_token` prints a table: milliseconds until the first token (median and
largest of several requests, a vector at all tokens, prompt of a dozen tokens), milliseconds a token
after it for one text and for two side by side, and the load of the machine meanwhile.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch
import uvicorn

from oocr.engine.selftest import load_model
from oocr.play.server import play_app
from oocr.play.sources import Playground
from oocr.play.steering import SteeringSource
from oocr.steering.vectors import Vector

PROMPTS = {"nano": "the tower of place-4 is", "gemma-3-270m": "The official language of Japan is"}
KEY, REQUESTS, TOKENS = "benchmark", 15, 16


@contextmanager
def served(play: Playground) -> Iterator[str]:
    """The address of a server of the page."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(play_app(play, KEY), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def token_times(address: str, prompt: str, lane: str) -> list[float]:
    """Seconds from the request until each token is here."""
    use = {"id": "vector", "strength": 1.0}
    settings = {"prompt": prompt, "steering": [use], "colour": "vector", "new_tokens": TOKENS}
    body = json.dumps({"client": "benchmark", "lane": lane, "settings": settings}).encode()
    request = urllib.request.Request(f"{address}/api/text", body, {"x-oocr-key": KEY})
    began, times = time.perf_counter(), list[float]()
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            if json.loads(line)["type"] == "token":
                times.append(time.perf_counter() - began)
    return times


def each_token(times: list[float]) -> float:
    """Milliseconds a token, after the first."""
    return 1e3 * (times[-1] - times[0]) / (len(times) - 1)


def playground(name: str) -> Playground:
    """A model with a vector of the size of a token at a middle block."""
    model = load_model(name)
    direction = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    vector = Vector(model.n_blocks // 2, "all", direction)
    source = SteeringSource("vector", "vector", "vector", "", vector, Path(), "")
    return Playground(model, (name,), {"vector": source}, {})


def main() -> None:
    """Print the table."""
    print(f"{torch.get_num_threads()} threads; load {os.getloadavg()[0]:.1f}")
    print(f"{'model':14}  first token: median, largest   a token: one text, two (ms)")
    for name, prompt in PROMPTS.items():
        with served(playground(name)) as address:
            token_times(address, prompt, "a")
            runs = [token_times(address, prompt, "a") for _ in range(REQUESTS)]
            with ThreadPoolExecutor(2) as pages:
                both = list(pages.map(token_times, [address] * 2, [prompt] * 2, "ab"))
        firsts = [1e3 * times[0] for times in runs]
        alone, pair = median(map(each_token, runs)), max(map(each_token, both))
        print(f"{name:14} {median(firsts):20.0f} {max(firsts):8.0f} {alone:20.1f} {pair:4.1f}")
    print(f"load afterwards {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
