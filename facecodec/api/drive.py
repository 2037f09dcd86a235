"""One person's motion on another person's picture."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from facecodec.api.report import OnProgress, Progress, writing
from facecodec.api.subjects import DriverTrack, Portrait, read_portrait, track_driver
from facecodec.composite import Paster
from facecodec.config import SpeedConfig
from facecodec.errors import ConfigError, MediaError
from facecodec.generator.render import StreamRenderer
from facecodec.generator.select import load_generator, pick_device
from facecodec.generator.workers import single_threaded
from facecodec.media.audio import OpusReader, read_opus
from facecodec.media.writer import CONTAINERS, VideoWriter, synthetic_mark
from facecodec.motion.retarget import Retargeter, find_match
from facecodec.motion.surroundings import Sides, head_scene
from facecodec.track.crop import choose_crop, crop_picture
from facecodec.types import AudioPacket, CropTransform, F64Array, Frame, U8Array

_AUDIO_BPS = 96_000
_AUDIO_RATE = 48_000
_ROOM = 1.35
"""Side of the square against that of a coded one: no bits are spent on it."""


@dataclass(frozen=True, slots=True)
class DriveConfig:
    """What changes the pictures.

    Attributes:
        generator: as ``DecoderConfig.generator``.
        weights: weights file to take instead of the installed ones.
        size: largest side of the square around the face, pixels, 256 or 512.
        view: ``frame`` shows the whole reference picture, ``crop`` the square alone.
        speed: see :class:`SpeedConfig`.
    """

    generator: Literal["auto", "lite", "base", "warp-0"] = "auto"
    weights: str | Path | None = None
    size: Literal[256, 512] = 512
    view: Literal["frame", "crop"] = "frame"
    speed: SpeedConfig = SpeedConfig()

    def __post_init__(self) -> None:
        if self.size not in (256, 512):
            raise ConfigError("size", self.size, "256, 512")
        if self.view not in ("frame", "crop"):
            raise ConfigError("view", self.view, "frame, crop")


@dataclass(frozen=True, slots=True)
class DriveReport:
    """What :func:`drive_file` made.

    Attributes:
        frames: frames written.
        seconds: time from the first frame to the end of the last.
        width: width of the pictures.
        height: height of the pictures.
        held_frames: frames in which the driver showed no face.
        match: number of the driver's frame that looks most like the reference.
        generator: what made the pictures.
        damage: why pictures of the driver are missing or wrong; None if all is well.
        wall_s: seconds that the call took.
    """

    frames: int
    seconds: float
    width: int
    height: int
    held_frames: int
    match: int
    generator: str
    damage: str | None
    wall_s: float


def drive_mark(generator: str) -> dict[str, str]:
    """Metadata that says that one person's motion drives another's picture; see ``synthetic_mark``."""
    return synthetic_mark(generator) | {
        "comment": f"Synthesised pictures: made by facecodec, generator {generator}, from one picture. The "
        "motion of a person in another video drives the person shown, who never moved so. Not a camera "
        "recording.",
    }


def retarget(portrait: Portrait, driver: DriverTrack) -> tuple[F64Array, int]:
    """The portrait's face with the driver's motion.

    Returns:
        [T, 478, 3] picture pixels of the portrait, and the number of the driver's frame that was taken as
        the portrait's counterpart.
    """
    known = np.flatnonzero(driver.valid)
    match = int(known[find_match(portrait.points, driver.points[known])])
    return Retargeter(portrait.points, driver.points[match]).apply(driver.points), match


def drive_file(
    reference: str | Path | Portrait,
    driver: str | Path | DriverTrack,
    dst: str | Path,
    config: DriveConfig | None = None,
    *,
    overwrite: bool = False,
    start_s: float = 0.0,
    duration_s: float | None = None,
    crf: int = 12,
    on_tracking: OnProgress | None = None,
    on_progress: OnProgress | None = None,
) -> DriveReport:
    """Move a picture by a video, with the video's sound, marked as synthesised in its metadata.

    The file appears when it is complete; nothing is left behind on failure.

    Args:
        reference: picture file, or what :func:`read_portrait` made of it.
        driver: video file, or what :func:`track_driver` made of it.
        dst: ``.mp4`` or ``.mkv`` to write.
        config: what changes the pictures.
        overwrite: replace an existing ``dst``.
        start_s: seconds of the driver to leave out, where it is a file.
        duration_s: seconds of the driver to take, where it is a file; None takes all.
        crf: x264's constant rate factor for the written video.
        on_tracking: called now and then while the driver is tracked.
        on_progress: called now and then while pictures are made.

    Raises:
        ConfigError: ``start_s`` or ``duration_s`` is no stretch of time, or CUDA is asked for and not there.
        MediaError: a file cannot be read or written.
        NoFaceError: no face in the picture, or none in the video.
        WeightsError: the weights asked for are absent or damaged.
    """
    config = config or DriveConfig()
    begun = time.perf_counter()
    _check_target(Path(dst), overwrite)
    device = pick_device(config.speed.device)
    loaded = load_generator(config.generator, device, config.weights)
    portrait = reference if isinstance(reference, Portrait) else read_portrait(reference)
    if not isinstance(driver, DriverTrack):
        driver = track_driver(driver, start_s=start_s, duration_s=duration_s, on_progress=on_tracking)
    meshes, match = retarget(portrait, driver)
    with ExitStack() as stack:
        stack.enter_context(single_threaded())
        stage = _Stage(portrait, meshes, config, StreamRenderer(loaded, device, config.speed.threads))
        sound = _open_sound(driver, stack)
        stack.enter_context(writing(dst))
        writer = VideoWriter(
            dst,
            *stage.frame_size,
            driver.time_base,
            frame_rate=driver.frame_rate,
            crf=crf,
            audio=sound.info if sound else None,
            metadata=drive_mark(loaded.name),
            overwrite=overwrite,
        )
        stack.enter_context(writer)
        seconds = _write(writer, stage, driver, sound, on_progress)
    width, height = stage.frame_size
    return DriveReport(
        frames=len(driver.pts),
        seconds=seconds,
        width=width,
        height=height,
        held_frames=int((~driver.valid).sum()),
        match=match,
        generator=loaded.name,
        damage=driver.damage,
        wall_s=time.perf_counter() - begun,
    )


class _Stage:
    """Makes the pictures of a run."""

    def __init__(
        self, portrait: Portrait, meshes: F64Array, config: DriveConfig, renderer: StreamRenderer
    ) -> None:
        height, width = portrait.pixels.shape[:2]
        everything = np.concatenate([portrait.points[None].astype(np.float64), meshes])
        tight = choose_crop(everything, 0, width, height, config.size)
        self._crop = _roomier(tight, width, height, config.size)
        self._renderer = renderer
        self._batch = config.speed.batch
        self._own = self._crop.to_crop(portrait.points).astype(np.float64)
        self._meshes = self._crop.to_crop(meshes).astype(np.float64)
        crop = self._crop
        right, bottom = crop.x + crop.side, crop.y + crop.side
        self._pinned = Sides(crop.x > 0, crop.y > 0, right < width, bottom < height)
        self._renderer.put(0, crop_picture(portrait.pixels, self._crop), self._own, q_idx=0)
        self._paster = None
        self.frame_size = (self._crop.size, self._crop.size)
        if config.view == "frame":
            self._paster = Paster(width, height, self._crop, portrait.pixels)
            self.frame_size = (width, height)

    def pictures(self) -> Iterator[U8Array]:
        """The pictures, in order."""
        for start in range(0, len(self._meshes), self._batch):
            meshes = self._meshes[start : start + self._batch]
            scene = head_scene(self._own, meshes, self._pinned)
            for picture in self._renderer.render(0, meshes, scene):
                yield picture if self._paster is None else self._paster.paste(picture)


def _write(
    writer: VideoWriter,
    stage: _Stage,
    driver: DriverTrack,
    sound: OpusReader | None,
    on_progress: OnProgress | None,
) -> float:
    """Pictures and sound into the writer, in order of time; the seconds that they last."""
    origin, count = driver.pts[0], len(driver.pts)
    seconds = 0.0
    waiting: AudioPacket | None = next(sound, None) if sound else None
    for done, (pts, picture) in enumerate(zip(driver.pts, stage.pictures(), strict=True), 1):
        seconds = float((pts - origin) * driver.time_base)
        while waiting is not None and sound is not None and waiting.pts <= seconds * _AUDIO_RATE:
            writer.write_audio(waiting)
            waiting = next(sound, None)
        writer.write(Frame(picture, pts - origin, driver.time_base))
        if on_progress is not None and (done % 16 == 0 or done == count):
            on_progress(Progress(done, count, 0, seconds))
    seconds += float(1 / driver.frame_rate)
    while waiting is not None and sound is not None and waiting.pts <= seconds * _AUDIO_RATE:
        writer.write_audio(waiting)
        waiting = next(sound, None)
    return seconds


def _check_target(dst: Path, overwrite: bool) -> None:
    """Refuse at once what the writer would refuse after long work."""
    if dst.suffix.lower() not in CONTAINERS:
        raise MediaError(dst, f"cannot be written; known suffixes: {', '.join(CONTAINERS)}")
    if dst.exists() and not overwrite:
        raise MediaError(dst, "exists already, and overwriting was not asked for")


def _open_sound(driver: DriverTrack, stack: ExitStack) -> OpusReader | None:
    if not driver.has_audio:
        return None
    return stack.enter_context(
        read_opus(
            driver.path,
            bitrate_bps=_AUDIO_BPS,
            channels=2,
            start_s=driver.start_s,
            video_start_s=driver.file_start_s,
        )
    )


def _roomier(crop: CropTransform, width: int, height: int, size: int) -> CropTransform:
    """The square, larger where the picture has room for hair and for what the head uncovers."""
    side = min(round(_ROOM * crop.side), width, height)
    if side <= crop.side:
        return crop
    grown = (side - crop.side) // 2
    x = min(max(crop.x - grown, 0), width - side)
    y = min(max(crop.y - grown, 0), height - side)
    even = side - side % 2
    if even <= size:
        return CropTransform(x, y, even, even)
    return CropTransform(x, y, side, size)
