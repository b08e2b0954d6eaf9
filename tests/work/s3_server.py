"""An S3 server on this machine (moto's), whose requests are counted; one that ignores conditions.

By hand as well: `python -m tests.work.s3_server` prints its address and serves until it is ended.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

BUCKET = "bucket"


@dataclass
class S3Server:
    """A running server; `requests` are counted by what they ask for ("PUT claim", "LIST", …)."""

    url: str
    checks: bool
    app: Callable[..., Iterable[bytes]]
    requests: Counter[str] = field(default_factory=Counter[str])

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        listing = method == "GET" and "list-type" in environ.get("QUERY_STRING", "")
        kind = path.rpartition(".")[2] if "." in path.rpartition("/")[2] else "other"
        self.requests["LIST" if listing else f"{method} {kind}"] += 1
        if not self.checks:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        return self.app(environ, start)

    @property
    def environment(self) -> dict[str, str]:
        """For processes that are to find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "no-such-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def s3_server(*, checks: bool = True) -> Iterator[S3Server]:
    """Serve one empty bucket; `checks`: as S3 does, a condition of a PUT is heeded."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: object) -> None:
            pass

    made = S3Server("", checks, DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, made, threaded=True, request_handler=Quiet)
    made.url = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    import urllib.request

    with urllib.request.urlopen(urllib.request.Request(f"{made.url}/{BUCKET}", method="PUT")):
        pass
    made.requests.clear()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    with s3_server() as made:
        print(made.url, flush=True)
        while True:
            time.sleep(1)
