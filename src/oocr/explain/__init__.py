"""Questions asked of trained arms, one file each."""

from oocr.explain.constancy import Constancy, constancy_of
from oocr.explain.questions import constancy, swap

__all__ = ["Constancy", "constancy", "constancy_of", "swap"]
