"""How long a reference picture is likely to serve, and the quality that this is worth.

Bytes of a still are paid once, and what they gain is seen in every frame made from it. A picture that serves
twice as long is therefore worth the quality at which a byte gains half as much: on the validation clips
:data:`QUALITY_PER_OCTAVE` steps more (LPIPS of decoded frames over bytes of the still). From which service on
the lever's own quality is too little was chosen so that a byte of a still gains about as much as one of a
palette or of a further picture. With 2.5 s for 10, eleven validation clips took 11 % more bytes, and LPIPS
fell by 12 % (warp-0); at quality 80 to 90 a byte of a still gains a third of what it does at 60 to 70.
"""

from __future__ import annotations

from math import log2

USUAL_S = 2.5
"""Service that the lever's quality is meant for, seconds."""
PRIOR_S = 30.0
"""Time between two pictures that is expected of a video before any of it is known, seconds."""
QUALITY_PER_OCTAVE = 10.0
"""Steps of quality at which a byte of a still gains half as much."""
QUALITY_MOST = 90
"""Quality that a long service does not raise a picture above."""


def expected_service(seen_s: float, left_s: float, sent: int) -> float:
    """Seconds that a reference picture is likely to serve.

    Pictures are taken to be replaced at a constant rate, which is estimated from those sent so far with one
    picture in :data:`PRIOR_S` as prior (the mean of a gamma distribution's posterior).

    Args:
        seen_s: seconds of the video before it.
        left_s: seconds of the video from it on, which it can serve at most.
        sent: pictures sent so far.
    """
    return min(max(left_s, 0.0), (PRIOR_S + max(seen_s, 0.0)) / (1 + sent))


def quality_for(quality: int, service_s: float) -> int:
    """Quality of a still that serves so long; never below ``quality``, which is meant for short service.

    Args:
        quality: 0 to 100, what the lever sets.
        service_s: see :func:`expected_service`.
    """
    raised = quality + QUALITY_PER_OCTAVE * log2(max(service_s / USUAL_S, 1.0))
    return max(quality, min(round(raised), QUALITY_MOST))
