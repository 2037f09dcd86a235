"""The learned generator: shapes, budgets, neutral start, windows, references, patches, export."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from facecodec.errors import ConfigError, ShapeError
from facecodec.generator import WarpGenerator, load_topology
from facecodec.generator.adapt import Adaptation, attention
from facecodec.generator.adaptive import (
    REACH_OUTSIDE,
    AdaptiveGenerator,
    FrameInputs,
    References,
    Synthesis,
)
from facecodec.generator.embed import LABELS, Label, label_map
from facecodec.generator.flow import previous_field
from facecodec.generator.patches import PatchRegion, patch_masks, region_patches
from facecodec.generator.profile import PROFILES
from facecodec.generator.restore import COARSEST
from facecodec.generator.streaming import Stream

SIZE = 128


def _mesh(shift: float = 0.0, scale: float = 0.45) -> torch.Tensor:
    mesh = torch.from_numpy(load_topology().mean_mesh).clone() * scale
    mesh[:, :2] += 0.5
    mesh[:, 0] += shift
    return mesh


def _picture(seed: int = 0, size: int = SIZE) -> torch.Tensor:
    noise = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(noise, (size, size), mode="bicubic").clamp(0, 1)[0]


def _generator(profile: str = "toy", *, trained: bool = True) -> AdaptiveGenerator:
    torch.manual_seed(3)
    model = AdaptiveGenerator(PROFILES[profile]).eval()
    if trained:  # the layers that start at zero would hide everything else
        for parameter in model.parameters():
            if not parameter.abs().sum():
                nn.init.normal_(parameter, std=0.02)
    return model


def _references(count: int = 1, size: int = SIZE) -> References:
    meshes = torch.stack([_mesh(0.02 * i) for i in range(count)])
    pictures = torch.stack([_picture(i, size) for i in range(count)])
    return References(pictures[None], label_map(meshes, size // 2)[None], meshes[None])


def _frame(references: References, mesh: torch.Tensor) -> FrameInputs:
    size, warper = references.pictures.shape[-1], WarpGenerator()
    fields = [
        warper.motion_field(warper.prepare(picture, at), mesh[None], None, size)
        for picture, at in zip(references.pictures[0], references.meshes[0], strict=True)
    ]
    return FrameInputs(mesh[None], label_map(mesh[None], size // 2), torch.stack(fields, 1))


@torch.no_grad()
def _synthesise(model: AdaptiveGenerator, references: References, frame: FrameInputs) -> Synthesis:
    return model.synthesise(model.adapt(references), references, frame)


def test_labels_name_the_regions() -> None:
    mesh = _mesh()
    labels = label_map(mesh[None], 64)
    assert labels.shape == (1, LABELS, 64, 64)
    x, y = (mesh[13, :2] * 0.5 + mesh[14, :2] * 0.5).mul(64).int().tolist()
    assert labels[0, Label.INNER_MOUTH, y, x] > 0.5
    assert labels[0, Label.LEFT_EYE].sum() > 0
    iris_x, iris_y = mesh[468, :2].mul(64).int().tolist()
    assert labels[0, Label.IRIS, iris_y, iris_x] > 0.3
    parts = labels[0, Label.LIPS : Label.IRIS].sum(0)
    assert (parts <= labels[0, Label.FACE] + 1e-5).all()
    assert labels[0, :, 0, 0].abs().sum() == 0
    with pytest.raises(ShapeError):
        label_map(mesh[None, :100], 64)
    with pytest.raises(ConfigError):
        label_map(mesh[None], 4)


def test_untrained_it_shows_what_the_warp_shows() -> None:
    references = _references()
    frame = _frame(references, _mesh(0.01))
    made = _synthesise(_generator(trained=False), references, frame)
    warper = WarpGenerator()
    state = warper.prepare(references.pictures[0, 0], references.meshes[0, 0])
    shown = warper(state, frame.mesh)
    assert (made.picture - shown).abs().mean() < 0.01
    assert torch.equal(made.residual, torch.zeros_like(made.residual))


def test_masks_sum_to_one_and_absent_hypotheses_weigh_nothing() -> None:
    references = _references()
    made = _synthesise(_generator(), references, _frame(references, _mesh(0.01)))
    assert torch.allclose(made.masks.sum(1), torch.ones_like(made.masks[:, 0]), atol=1e-5)
    assert made.masks[:, 2:4].max() < 1e-5


def test_outside_the_face_the_networks_change_little() -> None:
    model, references = _generator(), _references()
    frame = _frame(references, _mesh(0.01))
    assert model.hallucinate.correction.bias is not None
    nn.init.constant_(model.hallucinate.correction.bias, 5.0)
    made = _synthesise(model, references, frame)
    change = (made.hallucinated - made.warped)[0].amax(0)
    face = nn.functional.interpolate(frame.label[:, Label.FACE, None], scale_factor=2.0)[0, 0]
    assert change[face == 0].max() < 0.6  # the blend of the map at the face's edge
    assert change[:8].max() <= REACH_OUTSIDE + 1e-6
    assert change[face == 1].max() > 0.9


@pytest.mark.parametrize("profile", ["lite", "base"])
def test_budgets(profile: str) -> None:
    model = _generator(profile)
    numbers = sum(p.numel() for p in model.parameters())
    assert numbers * 2 <= 15e6
    references = _references(size=256)
    frame = _frame(references, _mesh(0.01))
    adaptation = model.adapt(references)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.synthesise(adaptation, references, frame)
    assert counter.get_total_flops() <= {"lite": 4.5e9, "base": 16e9}[profile]


def test_a_window_is_a_part_of_the_whole() -> None:
    model, references = _generator(), _references()
    frame = _frame(references, _mesh(0.01))
    whole = _synthesise(model, references, frame)
    with torch.no_grad():
        part = model.synthesise(
            model.adapt(references), references, frame, torch.tensor([[32, 16]]), window_size=96
        )
    assert part.picture.shape == (1, 3, 96, 96)
    # Convolutions see zeros beyond the edge of a window, and far: compare its middle, loosely.
    inside = part.warped[..., 8:-8, 8:-8] - whole.warped[..., 40:120, 24:104]
    assert inside.abs().max() < 1e-4
    centre = part.picture[..., 44:52, 44:52] - whole.picture[..., 76:84, 60:68]
    assert centre.abs().mean() < 3e-3


def test_several_references_and_attention() -> None:
    model, references = _generator(), _references(3)
    near = _mesh(0.02)
    made = _synthesise(model, references, _frame(references, near))
    assert made.picture.shape == (1, 3, SIZE, SIZE)
    turned = _mesh()
    turned[:, 0] = 0.5 + (turned[:, 0] - 0.5) * 0.8
    keys = model.adapt(References(references.pictures[:, :2], references.labels[:, :2],
                                  torch.stack([turned, _mesh()])[None])).keys  # fmt: skip
    share = attention(keys, _mesh()[None])
    assert share.sum() == pytest.approx(1)
    assert share[0, 1] > 0.7


def test_patches_are_offered_where_they_lie() -> None:
    warper, mesh = WarpGenerator(), _mesh()
    red = torch.zeros(3, SIZE, SIZE)
    red[0] = 1
    source = warper.prepare(red, _mesh(0.03))
    patches = region_patches(warper, [None, None, source], mesh[None], SIZE)
    masks = patch_masks(warper, mesh[None], SIZE)
    assert torch.allclose(patches[:, 3], masks[:, PatchRegion.MOUTH], atol=1e-5)
    assert torch.allclose(patches[:, 0], patches[:, 3], atol=1e-4)
    assert patches[:, 1:3].abs().max() < 1e-5
    assert region_patches(warper, [None] * 3, mesh[None], SIZE).abs().sum() == 0
    references = _references()
    frame = _frame(references, mesh)._replace(patches=patches)
    made = _synthesise(_generator(), references, frame)
    x, y = (mesh[13, :2] * SIZE).int().tolist()
    assert made.masks[0, 3, y, x] > 0.01
    assert made.masks[0, 3, 2, 2] < 1e-5
    laid = _synthesise(_generator(), references, frame._replace(laid=True))
    assert torch.allclose(laid.warped, made.warped), "the warp itself is reported without patches"
    assert laid.picture[0, 0, y, x] > made.picture[0, 0, y, x]
    away = [(m.hallucinated[0, :, y, x] - red[:, 0, 0]).abs().sum() for m in (laid, made)]
    assert away[0] < 0.6 * away[1], "the correction starts from them"
    with pytest.raises(ShapeError):
        region_patches(warper, [source], mesh[None], SIZE)


def test_the_previous_field_finds_the_same_place() -> None:
    warper = WarpGenerator()
    state = warper.prepare(_picture(), _mesh())
    scene = torch.zeros(2, 7, 7, 2)
    scene[0, ..., 0], scene[1, ..., 0] = -0.02, -0.05
    fields = warper.motion_field(state, torch.stack([_mesh(0.02), _mesh(0.05)]), scene, SIZE)
    back = previous_field(fields[1:], fields[:1])
    planes = fields[:1].permute(0, 3, 1, 2)
    looked = nn.functional.grid_sample(planes, back * 2 - 1, align_corners=False, padding_mode="border")
    miss = (looked.permute(0, 2, 3, 1) - fields[1:]).abs()[:, 16:-16, 16:-16]
    assert miss.mean() * SIZE < 0.1


def test_gradients_are_finite_and_reach_every_parameter() -> None:
    model, references = _generator(), _references(2)
    frame = _frame(references, _mesh(0.015))
    frame = frame._replace(
        previous=_picture(5)[None],
        previous_field=frame.fields[:, 0],
        previous_valid=torch.ones(1),
        patches=torch.rand(1, 4, SIZE, SIZE),
    )
    restored = model.restorer(references.pictures[0], torch.full((2,), COARSEST)).clamp(0, 1)[None]
    references = references._replace(pictures=restored)
    made = model.synthesise(model.adapt(references), references, frame)
    made.picture.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("sequential", [False, True])
@torch.no_grad()
def test_the_stream_state_can_be_reset(sequential: bool) -> None:
    stream = Stream(_generator(), sequential=sequential)
    reference = stream.prepare(_picture(), _mesh())
    other = stream.prepare(_picture(1), _mesh())
    meshes = torch.stack([_mesh(0.01 * i) for i in range(3)])
    state = stream.new_state()
    together = stream.render([reference], meshes, None, state)
    state.reset()
    apart = [stream.render([reference], meshes[i : i + 1], None, state) for i in range(3)]
    assert torch.allclose(together, torch.cat(apart), atol=1e-5)
    fresh = stream.render([reference], meshes[2:], None, stream.new_state())
    assert torch.allclose(fresh, apart[2], atol=1e-6) == (not sequential)
    # A new reference ends what was before it.
    after = stream.render([other], meshes[2:], None, state)
    assert torch.equal(after, stream.render([other], meshes[2:], None, stream.new_state()))


@torch.no_grad()
def test_large_pictures_keep_the_reference_s_detail() -> None:
    stream = Stream(_generator(trained=False), sequential=True)
    picture = _picture(size=512)
    picture[:, ::2, ::2] = 1 - picture[:, ::2, ::2]
    reference = stream.prepare(picture, _mesh())
    state = stream.new_state()
    shown = [stream.render([reference], _mesh()[None], None, state) for _ in range(2)]
    assert shown[1].shape == (1, 3, 512, 512)
    assert (shown[0][0] - picture).abs().mean() < 0.02


class _PerFrame(nn.Module):
    """Everything that runs for each frame."""

    def __init__(self, model: AdaptiveGenerator) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, features: torch.Tensor, kernels: list[torch.Tensor], keys: torch.Tensor, *rest: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        made = self.model.synthesise(
            Adaptation(features, tuple(kernels), keys), References(*rest[:3]), FrameInputs(*rest[3:])
        )
        return made.picture, made.masks


@torch.no_grad()
def test_the_per_frame_part_exports_to_onnx(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, references = _generator("lite"), _references(size=256)
    frame = _frame(references, _mesh(0.01))
    rest = (
        *references,
        *frame[:3],
        _picture(5, 256)[None],
        frame.fields[:, 0],
        torch.ones(1),
        torch.rand(1, 4, 256, 256, generator=torch.Generator().manual_seed(1)),
    )
    adaptation = model.adapt(references)
    arguments = (adaptation.features, list(adaptation.kernels), adaptation.keys, *rest)
    network = _PerFrame(model).eval()
    expected = network(*arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(network, arguments, dynamo=True, opset_version=18, verbose=False)
    path = tmp_path / "frame.onnx"
    program.save(path)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    flat = [adaptation.features, *adaptation.kernels, adaptation.keys, *rest]
    feed = {i.name: x.numpy() for i, x in zip(session.get_inputs(), flat, strict=True)}
    for found, wanted in zip(session.run(None, feed), expected, strict=True):
        assert np.abs(found - wanted.numpy()).max() * 2 <= 1e-3  # [0, 1] here, [-1, 1] in the bar


@torch.no_grad()
def test_reference_pictures_are_filtered_as_coarsely_as_they_were_coded() -> None:
    stream, picture = Stream(_generator(), sequential=False), _picture()
    whole = stream.prepare(picture, _mesh()).geometry.picture[0]
    assert not torch.allclose(whole, picture, atol=1e-3)
    assert torch.equal(stream.prepare(picture, _mesh(), q_idx=0).geometry.picture[0], picture)
    finer = stream.prepare(picture, _mesh(), q_idx=60).geometry.picture[0]
    assert not torch.allclose(finer, whole, atol=1e-3)
