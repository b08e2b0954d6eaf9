"""Questions asked of trained arms, one file each."""

from oocr.explain.audit import audit
from oocr.explain.audit_found import Audit
from oocr.explain.constancy import Constancy, constancy_of
from oocr.explain.questions import constancy, swap

__all__ = ["Audit", "Constancy", "audit", "constancy", "constancy_of", "swap"]
