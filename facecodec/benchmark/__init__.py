"""Rate and quality of this codec and of what people would use instead, on the same frames, from real bytes.

``quality`` measures a decoded clip, ``results`` keeps what a run found.
"""
