"""The shipped face model: Google MediaPipe FaceLandmarker, a zip of tflite networks.

The file lies in ``track/models/`` beside its licence and notice. Its hash is checked each time it is
read, so a damaged installation is named before it can change a track.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facecodec.errors import ConfigError, WeightsError
from facecodec.types import F32Array

MODEL_PATH = Path(__file__).parent / "models" / "face_landmarker.task"
MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
DETECTOR_MEMBER = "face_detector.tflite"
LANDMARKS_MEMBER = "face_landmarks_detector.tflite"


def read_member(member: str, path: Path = MODEL_PATH) -> bytes:
    """Read one network out of the FaceLandmarker file.

    Args:
        member: name inside the zip, such as :data:`DETECTOR_MEMBER`.
        path: the ``.task`` file.

    Returns:
        The tflite file's bytes.

    Raises:
        WeightsError: the file is absent, its sha256 is another, or it lacks the member.
    """
    try:
        data = path.read_bytes()
    except OSError as err:
        raise WeightsError(f"{path}: cannot read the face model: {err.strerror or err}") from err
    digest = hashlib.sha256(data).hexdigest()
    if digest != MODEL_SHA256:
        raise WeightsError(f"{path}: sha256 is {digest}, expected {MODEL_SHA256}; install facecodec again")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.read(member)
    except (KeyError, zipfile.BadZipFile) as err:
        raise WeightsError(f"{path}: no readable member {member}") from err


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Drop what native code writes to standard error inside.

    LiteRT announces its delegate there, once a process, and has no switch for it in Python.
    """
    try:
        kept = os.dup(2)
    except OSError:
        yield
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)


class TfliteNetwork:
    """A tflite network with one input, run by LiteRT on the CPU.

    Args:
        data: the tflite file's bytes.
        name: what to call it in errors.
        threads: threads of one run; 0 leaves the number to LiteRT.

    Raises:
        ConfigError: ``threads`` is negative.
        WeightsError: LiteRT cannot be imported or refuses the network.
    """

    def __init__(self, data: bytes, name: str, threads: int = 0) -> None:
        if threads < 0:
            raise ConfigError("threads", threads, "0 or more")
        try:
            from ai_edge_litert.interpreter import Interpreter

            with _quiet_stderr():
                self._interpreter = Interpreter(model_content=data, num_threads=threads or None)
                self._interpreter.allocate_tensors()
        except (ImportError, ValueError, RuntimeError) as err:
            raise WeightsError(f"{name}: LiteRT cannot run this network: {err}") from err
        self._input = int(self._interpreter.get_input_details()[0]["index"])
        self._outputs = {str(d["name"]): int(d["index"]) for d in self._interpreter.get_output_details()}

    def run(self, values: F32Array) -> dict[str, F32Array]:
        """Run the network once.

        Args:
            values: the input tensor, float32, in the network's own shape.

        Returns:
            Copies of the output tensors by name.
        """
        self._interpreter.set_tensor(self._input, values)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def sigmoid(values: npt.NDArray[np.floating]) -> F32Array:
    """Logistic function, with its argument held in [-80, 80]."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -80.0, 80.0))), np.float32)
