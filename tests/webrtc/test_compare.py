"""The comparison with H.264 keeps to its rate, and gets worse with it."""

from __future__ import annotations

import cv2
import numpy as np

from facecodec.call.compare import H264Loop
from facecodec.media.reader import VideoReader


def test_the_rate_is_kept_and_shows(samples):
    with VideoReader(samples / "talking_head.mp4", threads=1) as video:
        frames = [frame.pixels for frame in video.frames(duration_s=4.0)]
    errors = {}
    for kbps in (8.0, 60.0):
        loop, error = H264Loop(kbps, 24), 0.0
        for number, pixels in enumerate(frames):
            shown = loop.code(pixels, number / 24)
            middle = pixels[:, (pixels.shape[1] - pixels.shape[0]) // 2 :][:, : pixels.shape[0]]
            small = cv2.resize(middle, (256, 256), interpolation=cv2.INTER_AREA)
            error += float(np.abs(shown.astype(float) - small).mean())
        errors[kbps] = error / len(frames)
        assert 0.4 * kbps < loop.rate_kbps() < 1.4 * kbps
    assert errors[8.0] > 1.5 * errors[60.0]
