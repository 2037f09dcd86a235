"""The generator warp-0: identity, motion, scene points, gaze, batches, gradients, hostile meshes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from facecodec.errors import ConfigError, ShapeError
from facecodec.generator import WarpGenerator
from facecodec.generator.topology import RIGHT_IRIS

from .conftest import CUDA_TOLERANCE

MakeFace = Callable[..., Tensor]


def psnr_db(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean().clamp(min=1e-12)))


@pytest.fixture(scope="module")
def generator() -> WarpGenerator:
    return WarpGenerator()


def test_model_id_is_eight_bytes() -> None:
    assert WarpGenerator.model_id == b"warp-0\0\0"
    assert len(WarpGenerator.model_id) == 8


@pytest.mark.parametrize("yaw", [0.0, 0.5])
@pytest.mark.parametrize("points", [None, 5, 7, 9])
def test_identity_motion_returns_the_reference(
    generator: WarpGenerator, face: MakeFace, picture: Tensor, yaw: float, points: int | None
) -> None:
    state = generator.prepare(picture, face(yaw))
    scene = None if points is None else torch.zeros(1, points, points, 2)
    out = generator(state, face(yaw)[None], scene)
    assert out.shape == (1, 3, 128, 128)
    assert psnr_db(out[0], picture) > 45


@pytest.mark.parametrize("size", [64, 96, 512])
def test_identity_field_at_other_sizes_is_the_pixel_grid(
    generator: WarpGenerator, face: MakeFace, picture: Tensor, size: int
) -> None:
    field = generator.motion_field(generator.prepare(picture, face()), face()[None], None, size)
    centre = (torch.arange(size) + 0.5) / size
    assert torch.allclose(field[0, :, :, 0], centre.expand(size, size), atol=1e-4)
    assert torch.allclose(field[0, :, :, 1], centre[:, None].expand(size, size), atol=1e-4)


def test_face_and_scene_moved_alike_move_the_whole_picture(
    generator: WarpGenerator, face: MakeFace, picture: Tensor
) -> None:
    pixels = 8
    state = generator.prepare(picture, face())
    scene = torch.zeros(1, 7, 7, 2)
    scene[..., 0] = -pixels / 128
    out = generator(state, face(x=pixels / 128)[None], scene)[0]
    assert psnr_db(out[:, :, pixels:], picture[:, :, :-pixels]) > 45


def test_without_scene_points_the_face_moves_and_the_corners_stay(
    generator: WarpGenerator, face: MakeFace, picture: Tensor
) -> None:
    state = generator.prepare(picture, face(width=0.3))
    moved = face(width=0.3, x=0.05)
    field = generator.motion_field(state, moved[None], None, 128)[0]
    column, row = (moved[4, :2] * 128).long().tolist()
    assert field[row, column].tolist() == pytest.approx(
        [(column + 0.5) / 128 - 0.05, (row + 0.5) / 128], abs=1e-3
    )
    assert field[1, 1].tolist() == pytest.approx([1.5 / 128, 1.5 / 128], abs=5e-3)


def test_scene_points_under_the_face_are_not_heard(
    generator: WarpGenerator, face: MakeFace, picture: Tensor
) -> None:
    state, mesh = generator.prepare(picture, face()), face()[None]
    trust = generator.scene_trust(mesh, 9)[0]
    assert trust[4, 4] == 0
    assert trust[0, 0] == 1
    scene = torch.zeros(1, 9, 9, 2)
    scene[0, 4, 4] = 0.2
    still = generator.motion_field(state, mesh, torch.zeros_like(scene), 64)
    assert torch.allclose(generator.motion_field(state, mesh, scene, 64), still, atol=5e-4)


def test_a_turned_iris_looks_back_at_the_reference_iris(
    generator: WarpGenerator, face: MakeFace, picture: Tensor
) -> None:
    state = generator.prepare(picture, face())
    looking = face()
    shift = 0.012
    looking[list(RIGHT_IRIS), 0] += shift
    still = generator.motion_field(state, face()[None], None, 256)[0]
    turned = generator.motion_field(state, looking[None], None, 256)[0]
    change = turned - still
    column, row = (looking[RIGHT_IRIS[0], :2] * 256).long().tolist()
    assert change[row, column].tolist() == pytest.approx([-shift, 0.0], abs=1e-3)
    changed = change.abs().amax(-1) > 1e-4
    eye = torch.zeros(256, 256, dtype=torch.bool)
    lids = looking[[33, 133, 159, 145], :2] * 256
    low, high = lids.amin(0).floor().long(), lids.amax(0).ceil().long()
    eye[low[1] - 1 : high[1] + 2, low[0] - 1 : high[0] + 2] = True
    assert changed.any()
    assert not (changed & ~eye).any()


def test_hidden_surface_does_not_show_through(
    generator: WarpGenerator, face: MakeFace, picture: Tensor
) -> None:
    """On a turned head the field stays continuous but for the nose's edge: no speckles."""
    state = generator.prepare(picture, face())
    field = generator.motion_field(state, face(yaw=0.6)[None], None, 128)[0]
    jump = (field[:, 1:] - field[:, :-1]).norm(dim=-1)
    assert (jump > 0.05).float().mean() < 0.01


def test_batch_equals_single_frames(generator: WarpGenerator, face: MakeFace, picture: Tensor) -> None:
    state = generator.prepare(picture, face())
    meshes = torch.stack([face(0.3), face(x=0.1), face(-0.4, y=0.05)])
    scene = torch.randn(3, 7, 7, 2, generator=torch.Generator().manual_seed(1)) * 0.01
    together = generator(state, meshes, scene)
    for i in range(3):
        alone = generator(state, meshes[i : i + 1], scene[i : i + 1])
        assert torch.allclose(together[i : i + 1], alone, atol=1e-4)


def test_gradients_are_finite_and_reach_mesh_and_scene(
    generator: WarpGenerator, face: MakeFace, picture: Tensor
) -> None:
    state = generator.prepare(picture, face())
    mesh = face(0.4)[None].requires_grad_()
    scene = torch.zeros(1, 5, 5, 2, requires_grad=True)
    generator(state, mesh, scene).square().mean().backward()
    for gradient in (mesh.grad, scene.grad):
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0


def test_any_finite_mesh_gives_a_picture(generator: WarpGenerator, face: MakeFace, picture: Tensor) -> None:
    state = generator.prepare(picture, face())
    meshes = torch.stack(
        [torch.zeros(478, 3), face() * 1e5, face(x=3.0), face(yaw=3.14), torch.full((478, 3), -40.0)]
    )
    out = generator(state, meshes)
    assert torch.isfinite(out).all()
    assert out.min() >= 0
    assert out.max() <= 1


def test_wrong_shapes_are_named(generator: WarpGenerator, face: MakeFace, picture: Tensor) -> None:
    state = generator.prepare(picture, face())
    with pytest.raises(ShapeError, match="picture"):
        generator.prepare(picture[:, :100], face())
    with pytest.raises(ShapeError, match="mesh"):
        generator(state, face())
    for shape in ((1, 6, 6, 2), (2, 7, 7, 2), (1, 7, 5, 2), (7, 7)):
        with pytest.raises(ShapeError, match="scene"):
            generator(state, face()[None], torch.zeros(shape))
    with pytest.raises(ConfigError, match="field_size"):
        WarpGenerator(field_size=4)


@pytest.mark.cuda
def test_cuda_agrees_with_cpu(
    generator: WarpGenerator, face: MakeFace, picture: Tensor, cuda: torch.device
) -> None:
    meshes = torch.stack([face(0.3), face(-0.2, x=0.05)])
    expected = generator(generator.prepare(picture, face()), meshes)
    on_cuda = WarpGenerator().to(cuda)
    out = on_cuda(on_cuda.prepare(picture, face()), meshes.to(cuda)).cpu()
    assert (out - expected).abs().mean() < CUDA_TOLERANCE
