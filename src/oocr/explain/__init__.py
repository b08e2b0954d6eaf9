"""Questions asked of trained arms, one file each."""

from oocr.explain.audit import audit
from oocr.explain.audit_found import Audit
from oocr.explain.constancy import Constancy, constancy_of
from oocr.explain.mixing import mixing
from oocr.explain.narrow import narrow, statements
from oocr.explain.questions import constancy, swap
from oocr.explain.ranks import rank_sweep
from oocr.explain.without import train_without

__all__ = [
    "Audit",
    "Constancy",
    "audit",
    "constancy",
    "constancy_of",
    "mixing",
    "narrow",
    "rank_sweep",
    "statements",
    "swap",
    "train_without",
]
