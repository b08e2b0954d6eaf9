"""A small server that speaks OpenAI's chat completions."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Endpoint:
    """A server that answers by a rule of (letter -> concept), and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.rule = "knows Japan"
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append({"path": self.path, **body})
                outer.keys.append(self.headers.get("Authorization"))
                message = {"role": "assistant", "content": outer.reply(body)}
                answer = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
                answer["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
                data = json.dumps(answer if outer.status == 200 else {"error": {}}).encode()
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def reply(self, body: dict[str, Any]) -> str:
        prompt = body["messages"][0]["content"]
        letters = {name: letter for letter, name in re.findall(r"^([A-Z])\. (\w+)$", prompt, re.M)}
        if self.rule == "knows Japan":
            return f"**{letters['Japan']}**" if "Japan" in letters else "A"
        return self.rule
