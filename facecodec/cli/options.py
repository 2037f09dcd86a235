"""The options of the commands: their types, help and parsing. Defaults come from ``config``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from facecodec.config import DecoderConfig, EncoderConfig, SpeedConfig
from facecodec.errors import ConfigError

ENCODER = EncoderConfig()
DECODER = DecoderConfig()
SPEED = SpeedConfig()
DEFAULT_CRF = 12
DEFAULT_AUDIO = f"opus:{ENCODER.audio_bps // 1000}k"

ClipIn = Annotated[str, typer.Argument(metavar="IN", help="Video file, or - for standard input.")]
StreamIn = Annotated[str, typer.Argument(metavar="IN.fcv", help="facecodec file, or - for standard input.")]
StreamOut = Annotated[
    str, typer.Argument(metavar="OUT.fcv", help="File to write, or - for standard output (when complete).")
]
ClipOut = Annotated[
    str, typer.Argument(metavar="OUT.mp4", help="File to write, or - for standard output (when complete).")
]

Size = Annotated[int, typer.Option(metavar="256|512", help="Largest coded size of the crop, pixels.")]
EncodeView = Annotated[
    Literal["frame", "crop"],
    typer.Option(help="frame: the whole picture, with a backdrop; crop: the face's surroundings alone."),
]
Quality = Annotated[
    int, typer.Option(help="Quality against bytes, 0 to 100: sets motion, reference pictures and palettes.")
]
Qp = Annotated[
    int | None,
    typer.Option(help="Motion QP, 0 (finest) to 51; 6 more doubles every step. Usually set by --quality."),
]
RefQuality = Annotated[
    int | None, typer.Option(help="Quality of reference pictures, 0 to 100. Usually set by --quality.")
]
ScenePoints = Annotated[
    Literal["auto", "off"], typer.Option(help="Code the motion of hair, shoulders and background.")
]
PaletteUse = Annotated[
    Literal["auto", "off"],
    typer.Option(help="Send eyes and mouths that the reference picture does not show, where they pay."),
]
PresetName = Annotated[
    Literal["realtime", "balanced", "best"],
    typer.Option(help="Work of the encoder: best measures how good every frame is, realtime none."),
]
IntraPeriod = Annotated[
    int, typer.Option(help="Frames between reference pictures at most; 0 leaves it to the encoder.")
]
TrackerName = Annotated[
    Literal["mesh", "face-alignment"],
    typer.Option(help="Face tracker. face-alignment fetches its weights on first use."),
]
Audio = Annotated[str, typer.Option(metavar="opus:<n>k|none", help="Coding of the sound track.")]

ModelWeights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="Name these weights in the stream: it is then shown with them alone, unless the viewer insists.",
    ),
]
GeneratorName = Annotated[
    Literal["auto", "lite", "base", "warp-0"],
    typer.Option(help="What makes the pictures; auto: what the stream names, else the best for the device."),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights", metavar="FILE", help="Weights of the generator, instead of the installed ones."
    ),
]
References = Annotated[
    int, typer.Option(help="Reference pictures that a learned generator looks at, 1 to 4.")
]
DecodeView = Annotated[
    Literal["auto", "crop"], typer.Option(help="auto: what the stream holds; crop: the coded square alone.")
]
Composite = Annotated[
    Literal["feather", "poisson"], typer.Option(help="How the square is set into the backdrop.")
]
Crf = Annotated[int, typer.Option(min=0, max=51, help="CRF of the H.264 in the written mp4.")]

Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where networks run.")]
Threads = Annotated[int, typer.Option(help="Worker threads; 0 takes what the machine has.")]
Start = Annotated[float, typer.Option(min=0.0, metavar="SECONDS", help="Skip what comes before.")]
Duration = Annotated[
    float | None, typer.Option(min=0.0, metavar="SECONDS", help="Stop after so much; without it, at the end.")
]
Stats = Annotated[
    Path | None, typer.Option(metavar="OUT.jsonl", help="Write one line of JSON for every frame.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
Debug = Annotated[bool, typer.Option("--debug", help="Log on standard error; show where an error arose.")]


def audio_bps(text: str) -> int:
    """Bits a second that an ``--audio`` value asks for; 0 for ``none``.

    Args:
        text: ``none``, ``opus:16k`` or ``opus:16000``.

    Raises:
        ConfigError: ``text`` has another form, or a rate of 0.
    """
    if text == "none":
        return 0
    match = re.fullmatch(r"opus:(\d{1,6}(?:\.\d{1,3})?)(k?)", text)
    bps = round(float(match[1]) * (1000 if match[2] else 1)) if match else 0
    if bps == 0:
        raise ConfigError("audio", text, "opus:<n>k such as opus:16k, or none")
    return bps


def check_duration(duration_s: float | None) -> None:
    """Refuse a duration of nothing.

    Raises:
        ConfigError: ``duration_s`` is 0.
    """
    if duration_s == 0:
        raise ConfigError("duration", duration_s, "more than 0 seconds")
