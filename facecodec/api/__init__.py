"""From file to file: what the command line and most programs use."""

from facecodec.api.decode import DecodeReport, decode_file, decode_frames
from facecodec.api.encode import EncodeReport, encode_file
from facecodec.api.measure import code_track, reference_crops, source_crops
from facecodec.api.probe import StreamInfo, probe
from facecodec.api.report import SECTIONS, Progress

__all__ = [
    "SECTIONS",
    "DecodeReport",
    "EncodeReport",
    "Progress",
    "StreamInfo",
    "code_track",
    "decode_file",
    "decode_frames",
    "encode_file",
    "probe",
    "reference_crops",
    "source_crops",
]
