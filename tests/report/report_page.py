"""Reading a built report back, as a browser would."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from oocr.report.run_page import build_report

SMALL: dict[str, int] = {"members": 4, "seeds": 2, "directions": 4}
"""Size of the synthetic runs that tests make."""


@dataclass
class Page(HTMLParser):
    """What a browser would make of the page, as far as the tests need it."""

    html: str
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    inside: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.html.replace(get_plotlyjs(), ""))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def ids(self) -> list[str]:
        return [str(attrs["id"]) for _, attrs in self.tags if "id" in attrs]

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [a for _, a in self.tags if name in str(a.get("class") or "").split()]

    def sections(self) -> list[str]:
        ids = [str(a["id"]) for t, a in self.tags if t == "section" and "section" in str(a)]
        return [re.sub(r"^fake-[a-z]+-(?=[a-z])", "", id) for id in ids if "fake-" in id]

    def specs(self) -> list[Any]:
        """The figures' views."""
        places = [i for i, (t, a) in enumerate(self.tags) if t == "script"]
        specs = []
        for script, place in zip(self.scripts, places, strict=True):
            if self.tags[place][1].get("type") == "application/json":
                specs.append(json.loads(script))
        return specs


def page_of(*folders: Path, out: Path) -> Page:
    return Page(build_report(list(folders), out).read_text(encoding="utf-8"))


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in strings(part)]
