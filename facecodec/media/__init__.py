"""Pictures and sound from and to files, by way of FFmpeg (PyAV)."""

from facecodec.media.atomic import AtomicFile, atomic_path
from facecodec.media.audio import OpusReader, OpusStreamInfo, has_audio, read_opus
from facecodec.media.reader import VideoReader
from facecodec.media.source import VideoInfo
from facecodec.media.writer import VideoWriter, synthetic_mark

__all__ = [
    "AtomicFile",
    "OpusReader",
    "OpusStreamInfo",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "atomic_path",
    "has_audio",
    "read_opus",
    "synthetic_mark",
]
