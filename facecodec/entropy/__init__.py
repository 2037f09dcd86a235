"""Entropy coding: adaptive bit models and the range coder that they drive. Integers only."""

from facecodec.entropy.models import BitModels
from facecodec.entropy.range_coder import BitCounter, RangeDecoder, RangeEncoder

__all__ = ["BitCounter", "BitModels", "RangeDecoder", "RangeEncoder"]
