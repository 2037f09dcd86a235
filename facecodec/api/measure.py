"""What benchmarks need: the source as the codec saw it, its reference pictures, the motion coder alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facecodec.api.probe import walk
from facecodec.bitstream.levels import ChannelLayout, LevelState, count_levels
from facecodec.config import QP_DEFAULT
from facecodec.container.fcv import FcvReader
from facecodec.encoder import GROUP
from facecodec.media.reader import VideoReader
from facecodec.motion.expression import MESH_WEIGHT, opening_forms
from facecodec.motion.face import FaceMotion
from facecodec.motion.predict import reconstruct
from facecodec.motion.quantise import dequantise, quantise
from facecodec.motion.shape import levels_to_mesh, mesh_to_levels
from facecodec.motion_decoder import MotionDecoder
from facecodec.motion_encoder import RANDOM_ACCESS_S
from facecodec.refpic.buffer import Reference
from facecodec.track.crop import crop_picture
from facecodec.types import Frame


def _frame_references(stream: str | Path) -> Iterator[tuple[int, Reference]]:
    """Time and reference picture of every frame of a file."""
    with FcvReader(stream) as reader:
        decoder = MotionDecoder(reader.header)
        for item in walk(reader, decoder):
            if not isinstance(item, Reference):
                reference = decoder.buffer.get(item.ref_id)
                for pts in item.pts:
                    yield pts, reference


def source_crops(source: str | Path, stream: str | Path) -> Iterator[Frame]:
    """Frames of the source video, cut as the stream's reference pictures say.

    Args:
        source: the video that was coded.
        stream: the file that was made of it.

    Raises:
        MediaError: ``source`` cannot be read.
        BitstreamError: ``stream`` is damaged.
    """
    wanted = _frame_references(stream)
    with VideoReader(source) as reader:
        pair = next(wanted, None)
        for frame in reader.frames():
            while pair is not None and pair[0] < frame.pts:
                pair = next(wanted, None)
            if pair is None:
                return
            if pair[0] == frame.pts:
                yield Frame(crop_picture(frame.pixels, pair[1].crop), frame.pts, frame.time_base)


def reference_crops(stream: str | Path) -> Iterator[Frame]:
    """For every frame of a file, the decoded reference picture that it is made from.

    Raises:
        BitstreamError: the file is damaged.
    """
    with FcvReader(stream) as reader:
        time_base = reader.header.time_base
    for pts, reference in _frame_references(stream):
        yield Frame(reference.picture, pts, time_base)


def code_track(points: npt.NDArray[np.floating], fps: float, qp: int = QP_DEFAULT) -> tuple[float, float]:
    """Code the face motion of a track alone, as the encoder does with look-ahead.

    Args:
        points: [T, 478, 3] crop units, already smoothed; the frame at half a second is the reference.
        fps: frames a second.
        qp: quantisation parameter.

    Returns:
        Bits a frame, and RMS distance over all points and frames in points.
    """
    target = np.asarray(points, np.float64)
    motion = FaceMotion(levels_to_mesh(mesh_to_levels(target[min(len(target) - 1, round(fps / 2))])))
    amplitudes = motion.fit(target)
    layout = ChannelLayout(motion.model.basis.shape[0], 0)
    state, history = LevelState(layout), np.zeros((2, layout.count), np.int32)
    period = max(1, round(RANDOM_ACCESS_S * fps / GROUP)) * GROUP
    cost, squares = 0, 0.0
    for start in range(0, len(target), GROUP):
        part = amplitudes[start : start + GROUP]
        reset = start % period == 0
        before = np.zeros_like(history) if reset else history
        weights = np.full(part.shape, MESH_WEIGHT)
        residuals = quantise(part, qp, before, reset, weights=weights, forms=opening_forms())
        cost += sum(count_levels(state, residuals, [False] * len(part), reset))
        values = reconstruct(residuals, before, reset)
        history = np.concatenate([before, values])[-2:]
        miss = motion.apply(dequantise(values, qp))[..., :2] - target[start : start + GROUP, :, :2]
        squares += float((miss**2).sum())
    rms = float(np.sqrt(squares / (len(target) * target.shape[1]))) * 256.0
    return cost / 256.0 / len(target), rms
