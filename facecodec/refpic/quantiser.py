"""How coarsely a key frame of AV1 was quantised, read from its header.

Sections are those of the AV1 specification, version 1.0.0 with errata 1.

A decoder needs it to judge a picture that it has: what a post filter may change depends on what was lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from facecodec.errors import BitstreamError
from facecodec.refpic.obu import FRAME, SEQUENCE_HEADER, Bits, read_obus

COARSEST = 255
_SELECT = 2
"""``SELECT_SCREEN_CONTENT_TOOLS`` and ``SELECT_INTEGER_MV``: frames say for themselves."""
_MAX_TILE_WIDTH, _MAX_TILE_AREA, _MAX_TILES = 4096, 4096 * 2304, 64


@dataclass(frozen=True, slots=True)
class _Sequence:
    """What a frame header depends on.

    Attributes:
        reduced: it is that of a still picture.
        size: width and height, pixels.
        size_bits: bits in which frames state other ones.
        large_blocks: superblocks are 128 wide, not 64.
        screen_content: 0, 1, or 2 where frames say.
        integer_mv: likewise.
        order_bits: bits of an order hint.
        superres: frames may be smaller.
    """

    reduced: bool
    size: tuple[int, int]
    size_bits: tuple[int, int]
    large_blocks: bool
    screen_content: int
    integer_mv: int
    order_bits: int
    superres: bool


def base_q_idx(still: bytes) -> int | None:
    """Read ``base_q_idx`` of a key frame, 0 (finest) to 255.

    Args:
        still: a key picture, or a reduced still: a sequence header OBU and a frame OBU.

    Returns:
        The index; None where the header is not one of a plain key frame.
    """
    try:
        payloads = {obu.kind: obu.payload for obu in read_obus(still)}
        if set(payloads) != {SEQUENCE_HEADER, FRAME}:
            return None
        sequence = _read_sequence(Bits(payloads[SEQUENCE_HEADER]))
        return None if sequence is None else _read_frame(Bits(payloads[FRAME]), sequence)
    except BitstreamError:
        return None


def coarseness(still: bytes) -> int:
    """``base_q_idx`` of a key frame, and :data:`COARSEST` where it cannot be read."""
    q_idx = base_q_idx(still)
    return COARSEST if q_idx is None else q_idx


def _read_sequence(bits: Bits) -> _Sequence | None:
    """sequence_header_obu(), section 5.5.1; None with timing, several operating points or frame ids."""
    if bits.take(3):  # seq_profile
        return None
    bits.take(1)  # still_picture
    reduced = bool(bits.take(1))
    if reduced:
        bits.take(5)  # seq_level_idx
    else:
        # timing_info_present_flag, initial_display_delay_present_flag, operating_points_cnt_minus_1,
        # operating_point_idc
        if bits.take(19):
            return None
        if bits.take(5) > 7:  # seq_level_idx
            bits.take(1)  # seq_tier
    size_bits = bits.take(4) + 1, bits.take(4) + 1
    size = bits.take(size_bits[0]) + 1, bits.take(size_bits[1]) + 1
    if not reduced and bits.take(1):  # frame_id_numbers_present_flag
        return None
    large_blocks = bool(bits.take(1))
    bits.take(2)  # enable_filter_intra, enable_intra_edge_filter
    screen_content = integer_mv = _SELECT
    order_bits = 0
    if not reduced:
        bits.take(4)  # enable_interintra_compound, enable_masked_compound, _warped_motion, _dual_filter
        has_order = bits.take(1)
        if has_order:
            bits.take(2)  # enable_jnt_comp, enable_ref_frame_mvs
        if not bits.take(1):  # seq_choose_screen_content_tools
            screen_content = bits.take(1)
        if screen_content and not bits.take(1):  # seq_choose_integer_mv
            integer_mv = bits.take(1)
        order_bits = bits.take(3) + 1 if has_order else 0
    superres = bool(bits.take(1))
    return _Sequence(reduced, size, size_bits, large_blocks, screen_content, integer_mv, order_bits, superres)


def _read_frame(bits: Bits, sequence: _Sequence) -> int | None:
    """uncompressed_header(), section 5.9.2, up to base_q_idx; None but for a shown key frame."""
    if not sequence.reduced and bits.take(4) != 0b0_00_1:  # show_existing_frame, frame_type, show_frame
        return None
    keeps_statistics = bool(bits.take(1))  # disable_cdf_update
    screen_content = bits.take(1) if sequence.screen_content == _SELECT else sequence.screen_content
    if screen_content and sequence.integer_mv == _SELECT:
        bits.take(1)  # force_integer_mv
    other_size = not sequence.reduced and bits.take(1)  # frame_size_override_flag
    bits.take(sequence.order_bits)
    width, height = sequence.size
    if other_size:
        width, height = (bits.take(count) + 1 for count in sequence.size_bits)
    is_smaller = sequence.superres and bits.take(1)  # use_superres
    if is_smaller:
        return None
    if bits.take(1):  # render_and_frame_size_different
        bits.take(32)
    if screen_content:
        bits.take(1)  # allow_intrabc
    if not (sequence.reduced or keeps_statistics):
        bits.take(1)  # disable_frame_end_update_cdf
    return bits.take(8) if _skip_tiles(bits, width, height, sequence.large_blocks) else None


def _skip_tiles(bits: Bits, width: int, height: int, large_blocks: bool) -> bool:
    """Pass over tile_info(), section 5.9.15; whether its spacing is uniform."""
    shift = 7 if large_blocks else 6
    columns, rows = (-(-side // (1 << shift)) for side in (width, height))
    if not bits.take(1):  # uniform_tile_spacing_flag
        return False
    least = _log2(_MAX_TILE_WIDTH >> shift, columns)
    across = _increments(bits, least, _log2(1, min(columns, _MAX_TILES)))
    tiles = max(least, _log2(_MAX_TILE_AREA >> 2 * shift, rows * columns))
    down = _increments(bits, max(tiles - across, 0), _log2(1, min(rows, _MAX_TILES)))
    if across or down:
        bits.take(across + down + 2)  # context_update_tile_id, tile_size_bytes_minus_1
    return True


def _increments(bits: Bits, value: int, most: int) -> int:
    while value < most and bits.take(1):
        value += 1
    return value


def _log2(block: int, target: int) -> int:
    """tile_log2(), section 5.9.16."""
    power = 0
    while block << power < target:
        power += 1
    return power
