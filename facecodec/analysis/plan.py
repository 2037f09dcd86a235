"""Which reference pictures pay: greedily, by quality gained for a byte over the frames that they would serve.

Quality is what the mesh warp shows at coarse size (:mod:`facecodec.analysis.serving`), and each frame is
served by the best picture that the decoder holds. With look-ahead the frames are those of the window, and
candidates are medoids of them over pose and expression, the pictures at hand being medoids already (the BUILD
phase of PAM: Kaufman and Rousseeuw, Finding Groups in Data, 1990). A call looks back instead: the last frames
stand for the next ones, and the frame at hand is the candidate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from functools import partial

import numpy as np

from facecodec.analysis.references import Candidate
from facecodec.analysis.serving import STRIDE, CoarseViewer, Sample, take_samples
from facecodec.analysis.window import Tracked
from facecodec.bitstream.mesh import encode_mesh
from facecodec.config import QUALITY_DEFAULT
from facecodec.generator.workers import Workers
from facecodec.motion.shape import levels_to_mesh, mesh_to_levels
from facecodec.refpic.buffer import Reference
from facecodec.refpic.predicted import CodedPicture, KeyPicture, encode_key, encode_predicted
from facecodec.track.crop import crop_picture
from facecodec.types import CropTransform, F32Array, F64Array

CANDIDATES = 3
"""Frames of a window that are tried."""
PRICE = 4e-3
"""Distance, summed over frames, that a byte has to save at the default quality."""
TAIL = 144
"""Frames behind the window that are reckoned to be as the last :data:`_LAST` of those looked at."""
_LAST = 3
CHANGE_BYTES = 150.0
"""What going over to another picture is reckoned to cost: motion begins anew, and a step may be seen."""
_LEAST_BYTES = 0.3
"""A picture costs at least this share of a key picture."""
_REMEMBERED = 6
"""Frames that a call looks back at, one in :data:`STRIDE`."""
_UNIT_BYTES = 20
_TRIAL, _UNCODED = 8, 9
"""Numbers of pictures that are only tried, and of frames that are not coded yet; slots have 0 to 7."""
_BETTER = 0.97
"""Share of the distance of the best candidate that another has to stay below."""


class ReferencePlanner:
    """Chooses among reference pictures of one square, and whether another pays.

    Args:
        viewer: shows frames.
        price: what a byte has to gain, 1 at the default quality.
        pool: threads that code candidates side by side.

    Attributes:
        quality: of stills, 0 to 100.
        key: what another picture would be predicted from, if anything.
    """

    def __init__(self, viewer: CoarseViewer, price: float, pool: Workers) -> None:
        self._pool = pool
        self._viewer, self._price, self.quality = viewer, PRICE * price, QUALITY_DEFAULT
        self.key: KeyPicture | None = None
        self._past: deque[Sample] = deque(maxlen=_REMEMBERED)

    def remember(self, sample: Sample) -> list[Sample]:
        """Take in what a call has seen, and return the frames remembered."""
        self._past.append(sample)
        return list(self._past)

    def forget(self) -> None:
        """Forget the frames remembered: they are of another square."""
        self._past.clear()

    def best(self, active: Reference, others: Sequence[Reference], samples: Sequence[Sample]) -> Reference:
        """The picture that serves frames best; the one in use unless another pays for the change.

        Args:
            active: the picture in use.
            others: the others of its square.
            samples: what is looked at of the frames.
        """
        if not others or not samples:
            return active
        best, least = active, self._total(active, samples) - self._price * CHANGE_BYTES / STRIDE
        for other in others:
            total = self._total(other, samples)
            if total < least:
                best, least = other, total
        return best

    def again(
        self, held: Sequence[Reference], items: Sequence[Tracked], points: F32Array, last_bytes: int
    ) -> Reference | None:
        """The picture that serves what comes behind a cut, if a new one could not gain enough for its bytes.

        Args:
            held: pictures that the decoder holds.
            items: T frames from the cut on.
            points: [T, 478, 3], their faces, picture pixels.
            last_bytes: what the last reference picture took, with the backdrop beside it if any.
        """
        best, least = None, self._price * last_bytes
        for reference in held:
            samples = take_samples(items, points, reference.crop)
            if len(samples) * STRIDE < len(items) - STRIDE or not samples:
                continue
            lost = float(_worth(len(samples), TAIL) @ self._viewer.distances(reference, samples))
            if lost < least:
                best, least = reference, lost
        return best

    def fittest(
        self, candidates: Sequence[Candidate], items: Sequence[Tracked], points: F32Array, tail: int
    ) -> Candidate:
        """The frame that would serve a run best as its reference picture; the first unless another is better.

        Args:
            candidates: frames of one square; at least one.
            items: T frames to be served.
            points: [T, 478, 3], their faces, picture pixels.
            tail: frames behind them, reckoned to be as the last ones.
        """
        samples = take_samples(items, points, candidates[0].crop)
        if not samples:
            return candidates[0]
        worth = _worth(len(samples), tail)
        totals = [float(worth @ self._viewer.distances(_uncoded(c), samples)) for c in candidates]
        best = int(np.argmin(totals))
        return candidates[best if totals[best] < _BETTER * totals[0] else 0]

    def candidate(
        self,
        held: Sequence[Reference],
        samples: Sequence[Sample],
        tried: Sequence[Sample],
        last_bytes: int,
        tail: int,
    ) -> Candidate | None:
        """A frame that pays as a reference picture; None where none does.

        Args:
            held: pictures of one square that the decoder holds; the first is the one in use.
            samples: the frames to be served.
            tried: those that may become reference pictures, such as :func:`medoids` of the others.
            last_bytes: what the last reference picture took, with the backdrop beside it if any.
            tail: frames behind them, reckoned to be as the last ones.
        """
        return whole(self.candidate_by_parts(held, samples, tried, last_bytes, tail))

    def candidate_by_parts(
        self,
        held: Sequence[Reference],
        samples: Sequence[Sample],
        tried: Sequence[Sample],
        last_bytes: int,
        tail: int,
    ) -> Generator[None, None, Candidate | None]:
        """As :meth:`candidate`, in parts of ten milliseconds or more: a call does urgent things between."""
        if not samples:
            return None
        worth, distances = _worth(len(samples), tail), []
        for reference in held:
            distances.append(self._viewer.distances(reference, samples))
            yield
        now = np.min(distances, 0)
        if worth @ now <= self._price * (_LEAST_BYTES * last_bytes + CHANGE_BYTES):
            return None
        best, most = None, 0.0
        coded = self._pool.map([partial(self._code, sample, held[0].crop) for sample in tried])
        yield
        for sample, (picture, reference, size) in zip(tried, coded, strict=True):
            gain = worth @ np.maximum(now - self._viewer.distances(reference, samples), 0)
            profit = float(gain) - self._price * (size + CHANGE_BYTES)
            item = sample.item
            if profit > most and item.patch is not None:
                most = profit
                best = Candidate(item.frame, sample.points, item.patch, held[0].crop, picture)
            yield
        return best

    def _code(self, sample: Sample, crop: CropTransform) -> tuple[CodedPicture, Reference, int]:
        """A frame as the reference picture that it would be: coded, itself, and the bytes of its unit."""
        pixels, pts = crop_picture(sample.item.frame.pixels, crop), sample.item.frame.pts
        if self.key is None:
            coded = encode_key(pixels, self.quality, speed="realtime")
        else:
            coded = encode_predicted(pixels, self.quality, self.key, speed="realtime")
        levels = mesh_to_levels(sample.mesh.astype(np.float64))
        reference = Reference(_TRIAL, pts, coded.picture, levels_to_mesh(levels), crop)
        return coded, reference, len(coded.still) + len(encode_mesh(levels)) + _UNIT_BYTES

    def _total(self, reference: Reference, samples: Sequence[Sample]) -> float:
        return float(self._viewer.distances(reference, samples).sum())


def whole(parts: Generator[None, None, Candidate | None]) -> Candidate | None:
    """What a plan made in parts comes to, all parts at once."""
    while True:
        try:
            next(parts)
        except StopIteration as done:
            found: Candidate | None = done.value
            return found


def medoids(samples: Sequence[Sample], held: Sequence[Reference], count: int) -> list[Sample]:
    """Frames that lessen the frames' distances from their nearest medoid most, one after the other.

    Args:
        samples: the frames, of one square.
        held: reference pictures of it, which are medoids already; at least one.
        count: frames wanted.

    Returns:
        At most ``count`` frames, the best first.
    """
    flat = np.stack([sample.mesh for sample in samples]).astype(np.float64).reshape(len(samples), -1)
    own = np.stack([reference.mesh for reference in held]).reshape(len(held), -1)
    nearest, between = _apart(flat, own).min(1), _apart(flat, flat)
    found: list[int] = []
    while len(found) < min(count, len(flat)):
        saved = np.maximum(nearest[:, None] - between, 0).sum(0)
        best = int(saved.argmax())
        if saved[best] <= 0:
            break
        found.append(best)
        nearest = np.minimum(nearest, between[:, best])
    return [samples[i] for i in found]


def _uncoded(candidate: Candidate) -> Reference:
    """A frame as a reference picture without loss."""
    crop, frame = candidate.crop, candidate.frame
    mesh = crop.to_crop(candidate.points).astype(np.float64)
    return Reference(_UNCODED, frame.pts, crop_picture(frame.pixels, crop), mesh, crop)


def _worth(count: int, tail: int) -> F64Array:
    """Frames that each of the samples stands for, [count]."""
    worth = np.full(count, float(STRIDE))
    worth[-_LAST:] += tail / min(count, _LAST)
    return worth


def _apart(a: F64Array, b: F64Array) -> F64Array:
    """Distances of lines, [A, B]."""
    squares = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))
