"""Compositing: the decoded crop back into the whole picture."""

from facecodec.composite.paste import FEATHER_DEFAULT, Paster
from facecodec.composite.poisson import TEMPORAL_DEFAULT, PoissonPaster

__all__ = ["FEATHER_DEFAULT", "TEMPORAL_DEFAULT", "Paster", "PoissonPaster"]
