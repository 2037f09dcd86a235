"""The samples are what SOURCES.md says."""

from __future__ import annotations

import hashlib
import re

import av
import pytest

NAMES = ["astronaut.png", "no_face.mp4", "talking_head.mp4"]


def test_sources_name_every_file_with_its_hash(samples):
    listed = dict(
        re.findall(r"^\| `([^`]+)` \| `([0-9a-f]{64})` \|$", (samples / "SOURCES.md").read_text(), re.M)
    )
    files = {p.name: p for p in samples.iterdir() if p.suffix in {".mp4", ".png", ".jpg"}}
    assert sorted(files) == sorted(listed) == NAMES
    for name, path in files.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == listed[name]
        assert path.stat().st_size < 2_000_000


@pytest.mark.parametrize(("name", "frames"), [("talking_head.mp4", 472), ("no_face.mp4", 50)])
def test_clips_have_pictures_and_sound_of_the_same_length(samples, name, frames):
    with av.open(str(samples / name)) as clip:
        video, audio = clip.streams.video[0], clip.streams.audio[0]
        assert video.frames == frames
        video_s, audio_s = (float(s.duration * s.time_base) for s in (video, audio))
        assert audio_s == pytest.approx(video_s, abs=0.05)
        peak = max(float(abs(frame.to_ndarray()).max()) for frame in clip.decode(audio))
        assert 0.1 < peak < 0.9
