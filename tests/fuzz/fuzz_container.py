"""Fuzz target: container reader, unit parsers and range decoder.

With atheris: ``python tests/fuzz/fuzz_container.py tests/vectors/v1``. Without it the functions are
what the tests call.
"""

from __future__ import annotations

import io
import sys

from facecodec.bitstream import (
    AudioUnit,
    MotionUnit,
    StreamHeader,
    UnitKind,
    pack_unit,
    parse_payload,
    parse_unit,
)
from facecodec.bitstream.levels import CONTEXTS, ChannelLayout, LevelState, decode_levels
from facecodec.bitstream.mesh import PLACE_LEVELS, decode_mesh
from facecodec.container import DamagedUnit, FcvReader
from facecodec.entropy import BitModels, RangeDecoder
from facecodec.entropy.models import PROB_ONE, decode_exp_golomb
from facecodec.errors import BitstreamError

MAX_SYMBOLS = 2000


def check_container(data: bytes) -> None:
    """Read a file from end to end, past damage, and seek in it."""
    try:
        with FcvReader(io.BytesIO(data)) as reader:
            check_walk(reader)
            for pts in (reader.header.start_pts, -(1 << 63), (1 << 63) - 1):
                reader.seek(pts)
                check_walk(reader)
    except BitstreamError:
        return


def check_walk(reader: FcvReader) -> None:
    """Go through the units; work out their times."""
    video: int | None = None
    audio: int | None = None
    try:
        for at in reader.units(resilient=True):
            unit = at.unit
            if isinstance(unit, DamagedUnit):
                continue
            if isinstance(unit, MotionUnit):
                video = unit.resolve_pts(reader.header, video)[-1]
            elif isinstance(unit, AudioUnit):
                audio = unit.resolve_pts(audio)[-1]
    except BitstreamError:
        return


def check_unit(data: bytes) -> None:
    """What parses as a unit packs to the same bytes."""
    try:
        unit = parse_unit(data)
    except BitstreamError:
        return
    if pack_unit(unit) != data:
        raise AssertionError(f"{unit.KIND.label} is not canonical")


def check_payload(data: bytes) -> None:
    """The same without a checksum in the way: the first byte chooses the type."""
    if not data:
        return
    kind, payload = UnitKind(data[0] % 7), data[1:]
    try:
        unit = parse_payload(kind, payload)
    except BitstreamError:
        return
    if unit.pack() != payload:
        raise AssertionError(f"{kind.label} is not canonical")
    if isinstance(unit, StreamHeader) and unit.time_base <= 0:
        raise AssertionError("time does not pass")


def check_range_decoder(data: bytes) -> None:
    """Any bytes give bounded numbers or an error."""
    decoder, models = RangeDecoder(data), BitModels(8)
    try:
        for turn in range(MAX_SYMBOLS):
            decode_exp_golomb(decoder, models, turn % 3, 5)
            decoder.decode_raw(turn % 19)
        decoder.finish()
    except BitstreamError:
        return


def check_levels(data: bytes) -> None:
    """The same for what is coded with it: a mesh, and the levels of a group."""
    size = data[0] % 64 + 1 if data else 1
    state = LevelState(ChannelLayout(size, 5), (PROB_ONE // 2,) * CONTEXTS)
    for decode in (
        lambda: decode_mesh(data, size + PLACE_LEVELS),
        lambda: decode_levels(state, data, size, True),
    ):
        try:
            decode()
        except BitstreamError:
            continue


def check(data: bytes) -> None:
    """All of it. Anything but a value or a BitstreamError gets out."""
    check_container(data)
    check_unit(data)
    check_payload(data)
    check_range_decoder(data)
    check_levels(data)


def main() -> None:
    """Run under atheris."""
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
