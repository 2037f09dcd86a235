"""A second decoder of levels, written from FORMAT.md alone, against the golden vector; printed numbers."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import facecodec.bitstream
import facecodec.motion
from facecodec.entropy import BitModels, RangeDecoder
from facecodec.entropy.models import decode_exp_golomb
from facecodec.motion import scene
from facecodec.motion.quantise import STEP_TABLE

HOME = Path(facecodec.bitstream.__file__).parent
TEXT = (HOME / "FORMAT.md").read_text(encoding="utf-8")
VECTOR = Path(__file__).parents[2] / "vectors" / "v1" / "levels"
Step = tuple[int, int | None, int | None, int, int | None, int | None]


def coding_order(n: int, reset: bool) -> list[Step]:
    """(t, lo, hi, depth, before, after); lo is None for an anchor from nothing."""
    out: list[Step] = []
    knots = [-1]
    if reset:
        out.append((0, None, None, 0, None, None))
        knots = [0]
    if knots[-1] < n - 1:
        out.append((n - 1, knots[-1], None, 0, None, None))
        knots.append(n - 1)
    depth = 1
    while not set(range(n)) <= set(knots):
        new = []
        for i in range(len(knots) - 1):
            lo, hi = knots[i], knots[i + 1]
            if hi - lo > 1:
                before = knots[i - 1] if i > 0 else None
                after = knots[i + 2] if i + 2 < len(knots) else None
                out.append(((lo + hi) // 2, lo, hi, depth, before, after))
                new.append((lo + hi) // 2)
        knots = sorted(knots + new)
        depth += 1
    return out


class SecondDecoder:
    """One stream."""

    def __init__(self, deformations: int, grid: int) -> None:
        table = json.loads((HOME / "data" / "contexts_1.json").read_text())["probabilities"]
        self.models = BitModels(1078, table, trust=24)
        self.face, self.grid = 6 + deformations, grid
        self.count = self.face + 2 * grid * grid
        self.past = [0] * self.count
        self.last = [[0, 0] for _ in range(self.count)]

    def channel_class(self, c: int) -> int:
        if c < 6:
            return c
        if c >= self.face:
            return 12 + (c - self.face) % 2
        return next(cls for end, cls in ((2, 6), (4, 7), (8, 8), (16, 9), (32, 10), (999, 11)) if c - 6 < end)

    def beside(self, c: int) -> int:
        if c < self.face:
            return self.past[c - 1] & 1 if c else 0
        point, axis = divmod(c - self.face, 2)
        others = [c - 1] * axis
        others += [c - 2] if point % self.grid else []
        others += [c - 2 * self.grid] if point >= self.grid else []
        return min(sum(self.past[o] & 1 for o in others), 2)

    def decode(self, data: bytes, n: int, reset: bool) -> tuple[list[list[int]], list[bool]]:
        """Residuals by frame, and hold flags."""
        coder = RangeDecoder(data)
        if reset:
            self.models.reset()
            self.past = [0] * self.count
            self.last = [[0, 0] for _ in range(self.count)]
        hold, held = [False] * n, 0
        if coder.decode(self.models, 1074):
            for t in range(n):
                held = coder.decode(self.models, 1075 + held)
                hold[t] = bool(held)
        columns = []
        for c in range(self.count):
            if c in (0, self.face):
                activity = [0] * n
            moves = coder.decode(
                self.models, 906 + self.channel_class(c) * 12 + self.past[c] * 3 + self.beside(c)
            )
            self.past[c] = (self.past[c] * 2 + moves) & 3
            columns.append(self.channel(coder, c, n, reset, activity) if moves else [0] * n)
        coder.finish()
        return [list(row) for row in zip(*columns, strict=True)], hold

    def channel(self, coder: RangeDecoder, c: int, n: int, reset: bool, activity: list[int]) -> list[int]:
        r: dict[int | None, int] = {}
        cls, kind = self.channel_class(c), 0 if c < 6 else 1 if c < self.face else 2
        for t, lo, hi, depth, _, _ in coding_order(n, reset):
            left, right = r.get(lo, 0), r.get(hi, 0)
            near = min(abs(left) + abs(right), 2)
            lead = right if right else left
            busy = 0 if activity[t] < 8 else 1 if activity[t] < 24 else 2
            r[t] = 0
            if coder.decode(self.models, cls * 54 + min(depth, 5) * 9 + near * 3 + busy):
                negative = coder.decode(
                    self.models, 756 + cls * 3 + (1 if lead > 0 else 2 if lead < 0 else 0)
                )
                base = 798 + kind * 36 + (3 if depth > 0 else 0) * 6 + near * 6
                size = 1 + decode_exp_golomb(coder, self.models, base, 6)
                r[t] = -size if negative else size
            activity[t] = activity[t] - (activity[t] >> 2) + (16 if r[t] else 0)
        return [r[t] for t in range(n)]

    def values(self, c: int, residuals: list[int], reset: bool) -> list[int]:
        """Values of a channel from its residuals, frame by frame."""
        v: dict[int | None, int] = {-2: self.last[c][0], -1: self.last[c][1]}
        for t, lo, hi, _, before, after in coding_order(len(residuals), reset):
            if lo is None:
                p = 0
            elif hi is None:
                e = 4 if lo == -1 and t + 1 in (1, 2) else 0
                p = v[lo] + (((v[-1] - v[-2]) * e + 8) >> 4)
            else:
                s = hi - lo
                p = (v[lo] * (hi - t) + v[hi] * (t - lo) + s // 2) // s
                if before is not None and after is not None:
                    p += (v[lo] + v[hi] - v[before] - v[after] + 8) >> 4
                elif after is not None:
                    p += (2 * v[hi] - v[lo] - v[after] + 8) >> 4
                elif before is not None:
                    p += (2 * v[lo] - v[hi] - v[before] + 8) >> 4
            v[t] = min(max(p + 16 * residuals[t], -(2**24)), 2**24)
        n = len(residuals)
        self.last[c] = [v[n - 2], v[n - 1]]
        return [v[t] for t in range(n)]


def test_a_decoder_written_from_the_document_reads_the_vector() -> None:
    data = VECTOR.with_suffix(".bin").read_bytes()
    expected: dict[str, Any] = json.loads(VECTOR.with_suffix(".json").read_text())
    decoder, at = SecondDecoder(expected["deformations"], expected["scene_grid"]), 0
    for group in expected["groups"]:
        n, reset = group["n"], group["reset"]
        residuals, hold = decoder.decode(data[at : at + group["bytes"]], n, reset)
        assert residuals == group["residuals"]
        assert hold == group["hold"]
        columns = list(zip(*residuals, strict=True))
        last = [decoder.values(c, list(columns[c]), reset)[-1] for c in range(decoder.count)]
        assert last == group["last_value"]
        at += group["bytes"]


def test_step_table_is_printed() -> None:
    block = TEXT.split("<!-- steps -->")[1].split("<!-- end of steps -->")[0]
    assert tuple(map(int, re.findall(r"\d+", block))) == STEP_TABLE
    assert tuple(round(64 * 2 ** (qp / 6)) for qp in range(52)) == STEP_TABLE


def test_tables_have_the_printed_hashes() -> None:
    for path in (HOME / "data" / "contexts_1.json", HOME.parent / "motion" / "data" / "basis_1.npz"):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert f"\n    {digest}\n" in TEXT, f"{path.name}: FORMAT.md should say {digest}"


def test_numbers_of_the_scene() -> None:
    assert f"`prior + (a[c], a[c + 1]) / (256 * {scene.SCENE_SCALE})`" in TEXT
    assert f"`u = clip(d / {scene._REACH}, 0, 1)`" in TEXT
