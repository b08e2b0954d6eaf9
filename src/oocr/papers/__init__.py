"""The papers of `oocr reproduce --paper NAME`, in addition to the default paper."""

from __future__ import annotations

from collections.abc import Mapping

from oocr.papers import frames, ockr, ocr, places
from oocr.papers.paper import Paper

_TABLE = (ocr.PAPER, ockr.PAPER, frames.PAPER, places.PAPER)
PAPERS: Mapping[str, Paper] = {paper.name: paper for paper in _TABLE}
