"""Seeded mutations of the golden vectors through the fuzz target.

The number of runs is fixed; FACECODEC_FUZZ_SECONDS asks for a time instead.
"""

import os
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facecodec.bitstream import UnitKind, frame_unit, parse_unit_head
from facecodec.errors import BitstreamError
from tests.fuzz.fuzz_container import (
    check,
    check_container,
    check_levels,
    check_payload,
    check_range_decoder,
    check_unit,
)

SEEDS = [path.read_bytes() for path in sorted((Path(__file__).parents[1] / "vectors").glob("v*/*.bin"))]
FILES = [seed for seed in SEEDS if seed.startswith(b"FCV\x1a")]


def is_unit(seed: bytes) -> bool:
    """Whether a seed starts like a unit: the vectors of levels and meshes do not."""
    try:
        parse_unit_head(seed)
    except BitstreamError:
        return False
    return True


UNITS = [seed for seed in SEEDS if not seed.startswith(b"FC") and is_unit(seed)]
RUNS = 2000
MEMORY_MAX = 16 << 20


def turns(parts: int) -> Iterator[int]:
    """Count runs: RUNS of them, or for this part's share of FACECODEC_FUZZ_SECONDS."""
    seconds = float(os.environ.get("FACECODEC_FUZZ_SECONDS", "0"))
    end = time.monotonic() + seconds / parts
    turn = 0
    while time.monotonic() < end if seconds else turn < RUNS:
        yield turn
        turn += 1


def mutate(rng: random.Random, seed: bytes, other: bytes) -> bytes:
    """Change a few bytes, cut, repeat or splice."""
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 2, 4, 9))):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                data[place : place + 1] = bytes([rng.getrandbits(8)])
            case 1:
                data[place : place + 1] = rng.choice((b"\0", b"\x7f", b"\x80", b"\xff", b"\xff" * 10))
            case 2:
                del data[place : place + rng.choice((1, 2, 30))]
            case 3:
                data[place:place] = rng.randbytes(rng.choice((1, 2, 8)))
            case 4:
                start = rng.randrange(len(other) + 1)
                data[place:place] = other[start : start + rng.randrange(60)]
            case _:
                if place < len(data):
                    data[place] ^= 1 << rng.randrange(8)
    return bytes(data)


def reframe(rng: random.Random, data: bytes) -> bytes:
    """Damage units of a file inside their payloads and make the checksums right again."""
    out, offset = bytearray(data[:4]), 4
    while offset < len(data) - 12:
        head = parse_unit_head(data, offset)
        payload = data[offset + head.head_bytes :][: head.payload_bytes]
        if rng.random() < 0.3 and payload:
            payload = mutate(rng, payload, payload)
        if rng.random() < 0.05:
            payload = rng.randbytes(rng.randrange(40))
        out += frame_unit(UnitKind(head.kind), payload[: head.kind.payload_max])
        offset += head.total_bytes
    return bytes(out + data[-12:])


def test_there_are_seeds() -> None:
    assert len(FILES) >= 2
    assert len(UNITS) >= 20


def test_mutated_files() -> None:
    rng = random.Random(1)
    for _ in turns(4):
        check_container(mutate(rng, rng.choice(FILES), rng.choice(SEEDS)))


def test_mutated_payloads_under_good_checksums() -> None:
    rng = random.Random(2)
    whole = max(FILES, key=lambda data: (data.endswith(b"FCVI"), len(data)))
    for _ in turns(4):
        check_container(reframe(rng, whole))


def test_mutated_units() -> None:
    rng = random.Random(3)
    for _ in turns(4):
        data = mutate(rng, rng.choice(UNITS), rng.choice(SEEDS))
        check_unit(data)
        kind = parse_unit_head(rng.choice(UNITS)).kind
        check_payload(bytes([kind]) + data[rng.choice((1, 2)) : -2])


@pytest.mark.parametrize("target", [check_levels, check_range_decoder])
def test_random_bytes(target: Callable[[bytes], None]) -> None:
    rng = random.Random(4)
    for _ in turns(8):
        target(rng.randbytes(rng.randrange(200)))


def test_memory_is_bounded_by_the_bytes_that_are_there() -> None:
    rng = random.Random(5)
    tracemalloc.start()
    try:
        for _ in range(100):
            check(mutate(rng, rng.choice(SEEDS), rng.choice(SEEDS)))
        check_container(FILES[0][:4] + b"\xfa\xff\xff\x0f")
        check_payload(bytes([UnitKind.INDEX]) + b"\x00\x00\x80\x80\x04" + bytes(200_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_MAX
