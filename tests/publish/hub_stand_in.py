"""A Hugging Face Hub of a few routes, in memory: uploads, cards and downloads without a network.

Files come inline in the commit ("regular"), so that neither LFS nor Xet is needed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_stand_in"
_REPOSITORY = r"(?:models/)?(?P<id>(?:datasets/)?[^/]+/[^/]+)"


@dataclass
class Repository:
    """Files by path, and the number of commits."""

    private: bool = False
    licence: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr((self.commits, sorted(self.files))).encode()).hexdigest()


class HubStandIn:
    """The server; `repositories` by id ("datasets/me/rows" for data sets)."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        hub = self

        class Handler(_Handler):
            repositories = hub.repositories

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, id: str, files: dict[str, bytes]) -> Repository:
        self.repositories[id] = Repository(files=files, commits=1)
        return self.repositories[id]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    repositories: dict[str, Repository]

    def log_message(self, *args: Any) -> None:
        pass

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _send(self, code: int, value: Any = None, raw: bytes = b"", **headers: str) -> None:
        data = raw or (b"" if value is None else json.dumps(value).encode())
        self.send_response(code)
        for name, text in {"content_type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def _here(self) -> str:
        return f"http://{self.headers['host']}"

    def _allowed(self) -> bool:
        if self.headers.get("authorization") == f"Bearer {TOKEN}":
            return True
        self._send(401, {"error": "Invalid username or password."})
        return False

    def do_POST(self) -> None:
        body = self._body()
        if not self._allowed():
            return None
        if self.path == "/api/validate-yaml":
            return self._send(200, {"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            id = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if id in self.repositories:
                return self._send(409, {"error": "You already created this model repo"})
            self.repositories[id] = Repository(private=asked.get("visibility") == "private")
            return self._send(200, {"url": f"{self._here}/{id}", "name": id, "id": id})
        if re.match(rf"/api/{_REPOSITORY}/preupload/", self.path):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for file in json.loads(body)["files"]
            ]
            return self._send(200, {"files": files})
        if match := re.match(rf"/api/{_REPOSITORY}/commit/", self.path):
            repository = self.repositories[match["id"]]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    repository.files[line["value"]["path"]] = content
            repository.commits += 1
            commit = repository.commit
            url = f"{self._here}/{match['id']}/commit/{commit}"
            return self._send(200, {"success": True, "commitOid": commit, "commitUrl": url})
        return self._send(404, {"error": self.path})

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/api/whoami-v2":
            if self._allowed():
                self._send(200, {"type": "user", "name": "me", "orgs": [], "auth": {}})
            return None
        resolve = re.match(
            r"/(?P<id>(?:datasets/)?[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)", path
        )
        api = re.match(rf"/api/{_REPOSITORY}(?:/(?:revision|tree)/(?P<revision>[^/]+).*)?$", path)
        match = resolve or api
        repository = self.repositories.get(match["id"]) if match else None
        if match is None or repository is None:
            return self._send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        commit = repository.commit
        if match["revision"] not in (None, "main", commit):
            return self._send(404, {"error": "revision"}, X_Error_Code="RevisionNotFound")
        if resolve is None:
            return self._send(200, self._described(path, match["id"], repository))
        data = repository.files.get(resolve["file"])
        if data is None:
            error = {"X_Error_Code": "EntryNotFound", "X_Repo_Commit": commit}
            return self._send(404, {"error": "no such file"}, **error)
        tag = f'"{hashlib.sha1(data).hexdigest()}"'
        return self._send(200, raw=data, ETag=tag, X_Repo_Commit=commit, Accept_Ranges="bytes")

    do_HEAD = do_GET  # noqa: N815

    def _described(self, path: str, id: str, repository: Repository) -> Any:
        if "/tree/" in path:
            return [
                {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                for name, data in repository.files.items()
            ]
        name = id.removeprefix("datasets/")
        siblings = [{"rfilename": file} for file in repository.files]
        about = {"id": name, "modelId": name, "sha": repository.commit, "siblings": siblings}
        about |= {"cardData": {"license": repository.licence}} if repository.licence else {}
        return {"_id": "0", "tags": [], "private": repository.private, **about}
