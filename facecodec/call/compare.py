"""Plain H.264 at the same rate: what a usual call would show for the bits that this one takes."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np

from facecodec.media.color import to_yuv420p
from facecodec.types import U8Array

_SIDE = 256
_WINDOW_S = 2.0


class H264Loop:
    """Codes pictures with libx264 and decodes them at once, on this machine.

    x264 ``veryfast``, ``zerolatency``, 256x256, one key frame and then none; rate control keeps to
    ``kbps``, with a buffer of three seconds, so that the key frame may be as large as a reference picture.

    Args:
        kbps: kilobits a second to keep to.
        fps: pictures a second that will come.
    """

    def __init__(self, kbps: float, fps: float) -> None:
        self.kbps = kbps
        rate = Fraction(max(1, round(fps)))
        self._encoder = av.CodecContext.create("libx264", "w")
        self._encoder.width = self._encoder.height = _SIDE
        self._encoder.pix_fmt = "yuv420p"
        self._encoder.framerate = rate
        self._encoder.time_base = 1 / rate
        kilobits = max(1, round(kbps))
        self._encoder.bit_rate = kilobits * 1000
        self._encoder.options = {
            "preset": "veryfast",
            "tune": "zerolatency",
            "x264-params": f"keyint=infinite:vbv-maxrate={kilobits}:vbv-bufsize={3 * kilobits}:threads=1",
        }
        self._decoder = av.CodecContext.create("h264", "r")
        self._decoder.thread_count = 1
        self._sizes: list[tuple[float, int]] = []
        self._count = 0

    def rate_kbps(self) -> float | None:
        """What the last seconds took; None before anything was coded."""
        if len(self._sizes) < 2:
            return None
        span = self._sizes[-1][0] - self._sizes[0][0]
        return sum(size for _, size in self._sizes[1:]) * 8e-3 / span if span > 0 else None

    def code(self, pixels: U8Array, at_s: float) -> U8Array | None:
        """Code a picture and give what a viewer would see: [256, 256, 3], the middle of it; None for none."""
        height, width = pixels.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        middle = pixels[top : top + side, left : left + side]
        frame = to_yuv420p(np.asarray(cv2.resize(middle, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)))
        frame.pts, frame.time_base = self._count, self._encoder.time_base
        self._count += 1
        shown, size = None, 0
        for packet in self._encoder.encode(frame):
            size += packet.size
            for decoded in self._decoder.decode(packet):
                shown = decoded
        self._sizes.append((at_s, size))
        while at_s - self._sizes[0][0] > _WINDOW_S:
            self._sizes.pop(0)
        return None if shown is None else np.asarray(shown.to_ndarray(format="rgb24"), np.uint8)
