"""Elementary streams without what no decoder needs: supplemental information, delimiters, padding.

What is left is what a rate is measured in, and what is decoded. Sections of the standards: H.264 7.4.1 and
Annex B, H.265 7.4.2, H.266 7.4.2, AV1 5.3 and 5.5 (OBUs), the IVF file of libvpx.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Literal

from facecodec.errors import MediaError

Syntax = Literal["h264", "hevc", "vvc", "av1", "vp9"]

_START_CODE = re.compile(rb"\x00\x00\x00?\x01")
_UNNEEDED_NAL = {
    "h264": {6, 9, 12},  # SEI, access unit delimiter, filler data
    "hevc": {35, 38, 39, 40},  # access unit delimiter, filler data, SEI before and after
    "vvc": {20, 23, 24, 25},  # access unit delimiter, SEI before and after, filler data
}
_UNNEEDED_OBU = {2, 5, 15}
"""Temporal delimiter, metadata, padding."""


def nal_type(unit: bytes, syntax: str) -> int:
    """``nal_unit_type`` of a NAL unit without start code."""
    if syntax == "h264":
        return unit[0] & 0x1F
    if syntax == "hevc":
        return unit[0] >> 1 & 0x3F
    return unit[1] >> 3 if len(unit) > 1 else -1


def split_nal_units(data: bytes, syntax: str) -> list[tuple[int, bytes]]:
    """Split an Annex B byte stream into NAL units.

    Args:
        data: start code, NAL unit, start code, ...
        syntax: ``h264``, ``hevc`` or ``vvc``.

    Returns:
        (nal_unit_type, the bytes with their start code) of each.
    """
    starts = [m.start() for m in _START_CODE.finditer(data)]
    units = []
    for begin, end in zip(starts, [*starts[1:], len(data)], strict=True):
        unit = data[begin:end]
        payload = unit[unit.index(b"\x01") + 1 :]
        if payload:
            units.append((nal_type(payload, syntax), unit))
    return units


def split_obus(data: bytes, where: str = "AV1 stream") -> Iterator[tuple[int, bytes]]:
    """Split a temporal unit in the low-overhead format into OBUs.

    Args:
        data: OBUs that state their sizes.
        where: for messages.

    Yields:
        (obu_type, its bytes with header).

    Raises:
        MediaError: a size is absent or reaches over the end.
    """
    at = 0
    while at < len(data):
        header = data[at]
        body = at + 1 + (header >> 2 & 1)
        if not header >> 1 & 1:
            raise MediaError(where, f"OBU at byte {at} states no size")
        size, shift = 0, 0
        while True:
            if body >= len(data) or shift > 49:
                raise MediaError(where, f"OBU at byte {at} has a broken size")
            size |= (data[body] & 0x7F) << shift
            shift, more, body = shift + 7, data[body] & 0x80, body + 1
            if not more:
                break
        if body + size > len(data):
            raise MediaError(where, f"OBU at byte {at} reaches over the end")
        yield header >> 3 & 0xF, data[at : body + size]
        at = body + size


def strip(packet: bytes, syntax: Syntax) -> bytes:
    """Take out of a packet what no decoder needs.

    Args:
        packet: one access unit (H.26x: Annex B), temporal unit (AV1) or frame (VP9).
        syntax: of the stream.

    Raises:
        MediaError: the packet is damaged.
    """
    if syntax == "vp9":
        return packet
    if syntax == "av1":
        return b"".join(unit for kind, unit in split_obus(packet) if kind not in _UNNEEDED_OBU)
    unneeded = _UNNEEDED_NAL[syntax]
    return b"".join(unit for kind, unit in split_nal_units(packet, syntax) if kind not in unneeded)


def split_ivf(data: bytes, where: str = "IVF file") -> list[bytes]:
    """Frames of an IVF file, without its headers.

    Raises:
        MediaError: not an IVF file, or cut short.
    """
    if data[:4] != b"DKIF" or len(data) < 32:
        raise MediaError(where, "is no IVF file")
    at, frames = struct.unpack_from("<H", data, 6)[0], []
    while at < len(data):
        if at + 12 > len(data):
            raise MediaError(where, f"is cut short at byte {at}")
        size = struct.unpack_from("<I", data, at)[0]
        if at + 12 + size > len(data):
            raise MediaError(where, f"is cut short in the frame at byte {at}")
        frames.append(data[at + 12 : at + 12 + size])
        at += 12 + size
    return frames
