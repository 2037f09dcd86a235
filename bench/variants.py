"""Generators by name, and a clip decoded and measured with each of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from clips import CodedClip, load_coded
from synthesis import ExtraDecoder, Extras

from facecodec import DecoderConfig, EncoderConfig, SpeedConfig, api
from facecodec.benchmark.digests import LEARNED_MODULES, TUNING_MODULES, WARP_MODULES, import_digest, key_of
from facecodec.benchmark.quality import Judge, Networks, Quality, Sampling, available, load_networks
from facecodec.benchmark.tracking import track_clip
from facecodec.errors import WeightsError
from facecodec.generator.select import load_generator
from facecodec.train.finetune import finetune
from facecodec.train.finetune_settings import FinetuneSettings
from facecodec.types import U8Array
from facecodec.weights import registry

BASELINE = "warp-0"
STILL = "still"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of showing a stream.

    Attributes:
        name: of its column.
        generator: ``still`` (the reference picture repeated), ``warp-0``, ``lite``, ``base`` or ``auto``.
        weights: file to take instead of the installed one.
        extras: what is added to the stream.
        finetune: steps for which the weights are fitted to the stream's own reference pictures first.
        buffered: reference pictures of the stream itself that a frame may be made from, at most.
    """

    name: str
    generator: str
    weights: Path | None = None
    extras: Extras = Extras()  # noqa: RUF009
    finetune: int = 0
    buffered: int = 1

    @property
    def learned(self) -> bool:
        """Whether it has weights."""
        return self.generator not in (STILL, BASELINE)

    def weights_id(self) -> str:
        """Id of its weights; empty where it has none.

        Raises:
            WeightsError: they are absent or damaged.
        """
        if not self.learned:
            return ""
        path = self.weights or registry.find_profile(self.generator)
        if path is None:
            raise WeightsError(f"no weights of generator {self.generator} are installed")
        return registry.file_id(path).hex()

    def key(self) -> str:
        """Digest of what the pictures depend on besides the stream. Raises as :meth:`weights_id`."""
        if self.generator == STILL:
            return key_of(STILL)
        modules = LEARNED_MODULES if self.learned else WARP_MODULES
        tuning = (self.finetune, import_digest(TUNING_MODULES)) if self.finetune else ()
        own = (self.generator, self.weights_id(), self.extras, self.buffered)
        return key_of(*own, import_digest(modules), *tuning)


def choose_variants(
    generators: str,
    weights: Sequence[Path] = (),
    references: Sequence[int] = (1,),
    patches: bool = False,
    coded: bool = True,
    finetune: int = 0,
    buffered: int = 1,
) -> list[Variant]:
    """The variants that options ask for, warp-0 first.

    Args:
        generators: names, separated by commas.
        weights: files; each is a variant.
        references: numbers of reference pictures; each of a learned generator's is a variant.
        patches: add the same with region patches.
        coded: code what is added to the stream as reference pictures are.
        finetune: add each learned generator fitted to the stream for so many steps; 0 for none.
        buffered: add each learned generator with up to so many of the stream's own references; 1 for none.
    """
    named = [name for name in generators.split(",") if name and name != BASELINE]
    found = [Variant(BASELINE, BASELINE), *(Variant(STILL, STILL) for name in named if name == STILL)]
    learned = [Variant(name, name) for name in named if name != STILL]
    learned += [Variant(_label(path), "auto", path) for path in weights]
    for variant in learned:
        for patched in (False, True) if patches else (False,):
            for count in references:
                added = count > 1 or patched
                extras = Extras(count, patched, EncoderConfig().rate.ref_quality if added and coded else None)
                name = variant.name + (f", K = {count}" if count > 1 else "") + ", patches" * patched
                found.append(Variant(name, variant.generator, variant.weights, extras))
    if finetune:
        tuned = [(f"{v.name}, fine-tuned", v.generator, v.weights, Extras(), finetune) for v in learned]
        found += [Variant(*fields) for fields in tuned]
    if buffered > 1:
        found += [
            replace(v, name=f"{v.name}, up to {buffered} of the stream", buffered=buffered) for v in learned
        ]
    return found


def _label(path: Path) -> str:
    """Name of a weights file's column: files of training runs are all called alike."""
    return f"{path.parent.name}/{path.stem}" if path.stem == "weights" else path.stem


@dataclass(frozen=True, slots=True)
class Settings:
    """How a clip is decoded and measured.

    Attributes:
        frames: frames at most; 0 for all.
        sampling: which frames the networks see.
        no_lpips: measure without networks.
        lpips_weights: folder of LPIPS weights; None for where they are installed.
        device: of the decoder.
        threads: of the decoder.
        cache: folder that keeps fine-tuned weights.
    """

    frames: int = 0
    sampling: Sampling = Sampling()  # noqa: RUF009
    no_lpips: bool = False
    lpips_weights: Path | None = None
    device: str = "cpu"
    threads: int = 1
    cache: Path | None = None

    def absent(self) -> dict[str, str]:
        """Networks that are left out, and why."""
        there = available(self.no_lpips, self.lpips_weights, self.sampling.deep_every > 0)
        return {name: reason for name, reason in there.items() if reason}

    def network_names(self) -> tuple[str, ...]:
        """Networks that measure."""
        there = available(self.no_lpips, self.lpips_weights, self.sampling.deep_every > 0)
        return tuple(sorted(name for name, reason in there.items() if not reason))


@lru_cache(maxsize=1)
def _networks(names: tuple[str, ...], folder: Path | None) -> Networks:
    """The networks that measure, loaded once in each process."""
    return load_networks(names, folder)


class Decoded(NamedTuple):
    """A clip as a variant shows it.

    Attributes:
        frames: [T, S, S, 3] uint8.
        ms: milliseconds that a frame took: of the process's own time, all threads together, so that other
            programs do not count; on a GPU of the clock. Where extras were added, what is done once for a
            reference picture is left out.
        extra_bytes: size of what was added to the stream.
    """

    frames: U8Array
    ms: float
    extra_bytes: int = 0


class ClipBench:
    """A clip and its stream, decoded and measured in several ways; what these share is made once.

    Args:
        source: the video.
        stream: the ``.fcv`` that was made of it.
        settings: how it is decoded and measured.
    """

    def __init__(self, source: Path, stream: Path, settings: Settings) -> None:
        self._source, self._stream, self._settings = source, stream, settings
        self._coded: CodedClip | None = None
        self._judge: Judge | None = None

    @property
    def coded(self) -> CodedClip:
        """The clip by warp-0, with source and still.

        Raises:
            FacecodecError: what :func:`clips.load_coded` raises.
        """
        if self._coded is None:
            config = self._decoder(Variant(BASELINE, BASELINE))
            self._coded = load_coded(self._source, self._stream, self._settings.frames, config)
        return self._coded

    @property
    def judge(self) -> Judge:
        """What measures."""
        if self._judge is None:
            source, settings = self.coded.source, self._settings
            networks = _networks(settings.network_names(), settings.lpips_weights)
            self._judge = Judge(source, track_clip(source), networks, settings.sampling)
        return self._judge

    def decode(self, variant: Variant) -> Decoded:
        """Decode with a variant.

        Raises:
            FacecodecError: the stream or the weights are damaged or absent.
        """
        if variant.generator == STILL:
            return Decoded(self.coded.still, 0.0)
        count = len(self.coded.source)
        if variant.finetune:
            variant = replace(variant, weights=self._fitted(variant), generator="auto", finetune=0)
        if variant.extras.none:
            began = self._now()
            frames = list(islice(api.decode_frames(self._stream, self._decoder(variant)), count))
            ms = (self._now() - began) * 1000 / count
            return Decoded(np.stack([frame.pixels for frame in frames]), ms)
        device = torch.device(self._settings.device)
        generator = load_generator(variant.generator, device, variant.weights)
        track = self.judge.track
        decoder = ExtraDecoder(generator, device, self.coded.source, track, variant.extras)
        made = decoder.decode(self._stream)
        return Decoded(made.frames, made.seconds * 1000 / count, made.extra_bytes)

    def _fitted(self, variant: Variant) -> Path:
        """Weights fitted to the stream's reference pictures; the general ones where they are no better."""
        settings = self._settings
        base = variant.weights or registry.find_profile(variant.generator)
        if base is None or settings.cache is None:
            raise WeightsError(f"{variant.name}: needs weights, and a folder to keep the fitted ones")
        folder = settings.cache / "fitted" / key_of(self._stream.stem, variant.key())
        done = folder / "done"
        if not done.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            device: Any = settings.device
            how = FinetuneSettings(iterations=variant.finetune, device=device, threads=settings.threads)
            finetune(self._stream, base, folder, how)
            done.touch()
        return next(iter(sorted(folder.glob("*.safetensors"))), base)

    def measure(self, variant: Variant) -> tuple[Decoded, Quality]:
        """Decode and measure. Raises as :meth:`decode`."""
        made = self.decode(variant)
        return made, self.judge.measure(made.frames)

    def _now(self) -> float:
        return time.process_time() if self._settings.device == "cpu" else time.perf_counter()

    def _decoder(self, variant: Variant) -> DecoderConfig:
        device: Any = self._settings.device
        generator: Any = variant.generator
        speed = SpeedConfig(device=device, threads=self._settings.threads)
        return DecoderConfig(
            generator=generator,
            weights=variant.weights,
            references=variant.buffered,
            view="crop",
            speed=speed,
        )
