"""Clips coded once and kept, and what decoded pictures and figures depend on."""

from __future__ import annotations

from pathlib import Path

from clips import Clip, duration_of

import facecodec
from facecodec import EncoderConfig, SpeedConfig
from facecodec.benchmark.digests import ENCODER_MODULES, import_digest, key_of


def coded_stream(clip: Clip, config: EncoderConfig, frames: int, folder: Path) -> Path:
    """Code a clip, unless the folder holds it as the present encoder would make it.

    Args:
        clip: what is coded.
        config: how.
        frames: frames at most; 0 for all.
        folder: the cache.

    Returns:
        The ``.fcv``.

    Raises:
        FacecodecError: the clip cannot be coded.
    """
    size = clip.path.stat().st_size
    key = key_of(import_digest(ENCODER_MODULES), clip.name, size, config, frames)
    stream = folder / f"{clip.name}-{key}.fcv"
    if not stream.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        part = stream.with_name(f"{stream.stem}.part.fcv")
        duration_s = duration_of(clip.path, frames)
        facecodec.encode_file(
            clip.path, part, config, SpeedConfig(threads=1), duration_s=duration_s, overwrite=True
        )
        part.replace(stream)
    return stream
