"""The generator ``warp-0``: the reference picture bent along the mesh, with no learned weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from facecodec.errors import ConfigError, ShapeError
from facecodec.generator import flow, gaze, raster
from facecodec.generator.topology import FACE_OVAL, SURFACE_POINTS, MeshTopology, load_topology
from facecodec.generator.warp import warp

_SCENE_SIZES = (5, 7, 9)
_DEFAULT_SCENE = 7
_CHIN = 152
_COVERED = (0.03, 0.12)
"""Distance from the nearest mesh point, in face sizes, at which a scene point begins to be heard, and is."""


@dataclass(frozen=True, slots=True)
class ReferenceState:
    """What is known of one reference picture; made by :meth:`WarpGenerator.prepare`.

    Attributes:
        picture: [1, 3, H, W] float32 in [0, 1].
        mesh: [478, 3] float32, crop units.
        trust: [468], 1 where the reference shows the surface, 0 where it is turned away.
        eyes: [2, 1, s, s], how far inside the right and left eye opening a place lies, 0 to 1.
    """

    picture: Tensor
    mesh: Tensor
    trust: Tensor
    eyes: Tensor


class WarpGenerator(nn.Module):
    """Bends the reference picture: mesh motion inside the face, a thin plate spline outside.

    Args:
        topology: triangles of the mesh; the package's own by default.
        field_size: nodes a side on which the outer field is evaluated, at least 8.

    Raises:
        ConfigError: ``field_size`` is too small.
    """

    model_id: ClassVar[bytes] = b"warp-0\0\0"

    triangles: Tensor
    regions: Tensor
    inner: Tensor
    controls: Tensor

    def __init__(self, topology: MeshTopology | None = None, field_size: int = 64) -> None:
        super().__init__()
        if field_size < 8:
            raise ConfigError("field_size", field_size, "at least 8")
        self.topology = topology or load_topology()
        self.field_size = field_size
        constants = {
            "triangles": torch.from_numpy(self.topology.triangles.astype("int64")),
            "regions": torch.from_numpy(self.topology.regions.astype("int64")),
            "inner": torch.from_numpy(self.topology.rings > 0).float(),
            "controls": torch.tensor(sorted({*FACE_OVAL, *range(0, SURFACE_POINTS, 8)})),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    def prepare(self, picture: Tensor, mesh: Tensor) -> ReferenceState:
        """Take in a reference picture.

        Args:
            picture: [3, H, W], H = W, in [0, 1].
            mesh: [478, 3], crop units.

        Raises:
            ShapeError: the picture is not square RGB or the mesh is not [478, 3].
        """
        if picture.ndim != 3 or picture.shape[0] != 3 or picture.shape[1] != picture.shape[2]:
            raise ShapeError("picture", "[3, S, S]", tuple(picture.shape))
        raster.check_mesh(mesh[None])
        device = self.triangles.device
        mesh = mesh.float().to(device)
        facing = raster.vertex_facing(mesh[None], self.triangles, SURFACE_POINTS)[0]
        return ReferenceState(
            picture=picture.float().to(device)[None],
            mesh=mesh,
            trust=flow.smooth_step(facing, -0.1, 0.1),
            eyes=self._eye_openings(mesh, max(256, picture.shape[-1])),
        )

    def _eye_openings(self, mesh: Tensor, size: int) -> Tensor:
        ids = raster.winners(mesh[None], self.triangles, size)[0]
        shown = torch.where(ids < 0, torch.full_like(ids, -1), self.regions[ids.clamp(min=0)])
        masks = torch.stack([(shown == eye.region).float() for eye in gaze.EYES])[:, None]
        reach = 2 * (size // 256) + 1
        soft = functional.avg_pool2d(masks, reach, 1, reach // 2)
        return (2 * soft - 1).clamp(min=0)

    def scene_trust(self, mesh: Tensor, count: int) -> Tensor:
        """How far each scene point is heard: 0 where the face covers it, 1 well away from the face.

        Args:
            mesh: [B, 478, 3], crop units.
            count: points a side.

        Returns:
            [B, count, count] in [0, 1].
        """
        points = mesh[:, :SURFACE_POINTS, :2].float()
        distance = flow.nearest_distance(flow.grid_points(count, points), points) / _face_size(points)
        return flow.smooth_step(distance, *_COVERED).reshape(-1, count, count)

    def motion_field(
        self,
        state: ReferenceState,
        mesh: Tensor,
        scene: Tensor | None,
        size: int,
        ids: Tensor | None = None,
    ) -> Tensor:
        """Where each pixel of the current pictures looks in the reference picture.

        Args:
            state: the reference picture.
            mesh: current meshes, [B, 478, 3], crop units.
            scene: offsets of the scene points, [B, G, G, 2] with G of 5, 7 or 9, crop units, or None.
            size: width and height of the field.
            ids: what :meth:`winners` gives for ``mesh`` at this size, where it is known.

        Returns:
            [B, size, size, 2], (x, y) in crop units; carries gradients to ``mesh`` and ``scene``.

        Raises:
            ShapeError: ``mesh`` or ``scene`` has the wrong shape.
        """
        raster.check_mesh(mesh)
        mesh = mesh.float()
        outer = self._outer(state, mesh, scene, size)
        ids = self.winners(mesh, size) if ids is None else ids
        shift, weight, pixels = self.face_shift(state, mesh, ids)
        flat = outer.reshape(-1, 2)
        moved = flat[pixels] + weight[:, None] * (shift - flat[pixels])
        flat = flat.index_copy(0, pixels, moved)
        step = (torch.arange(size, device=mesh.device) + 0.5) / size
        place = torch.stack(torch.meshgrid(step, step, indexing="xy"), -1)
        return flat.reshape(len(mesh), size, size, 2) + place

    def face_field(self, state: ReferenceState, mesh: Tensor, size: int, ids: Tensor | None = None) -> Tensor:
        """The motion field of the face alone: right inside it, no motion outside.

        Args:
            state: the reference picture.
            mesh: current meshes, [B, 478, 3], crop units.
            size: width and height of the field.
            ids: what :meth:`winners` gives for ``mesh`` at this size, where it is known; -1 where no
                field is wanted.

        Returns:
            [B, size, size, 2], (x, y) in crop units.

        Raises:
            ShapeError: ``mesh`` has the wrong shape.
        """
        raster.check_mesh(mesh)
        mesh = mesh.float()
        ids = self.winners(mesh, size) if ids is None else ids
        shift, _, pixels = self.face_shift(state, mesh, ids)
        flat = shift.new_zeros(len(mesh) * size * size, 2).index_copy(0, pixels, shift)
        step = (torch.arange(size, device=mesh.device) + 0.5) / size
        place = torch.stack(torch.meshgrid(step, step, indexing="xy"), -1)
        return flat.reshape(len(mesh), size, size, 2) + place

    def forward(self, state: ReferenceState, mesh: Tensor, scene: Tensor | None = None) -> Tensor:
        """Make pictures.

        Args:
            state: the reference picture, [3, H, W].
            mesh: current meshes, [B, 478, 3], crop units.
            scene: offsets of the scene points, [B, G, G, 2], crop units, or None.

        Returns:
            [B, 3, H, W] float32 in [0, 1].

        Raises:
            ShapeError: ``mesh`` or ``scene`` has the wrong shape.
        """
        size = state.picture.shape[-1]
        return warp(state.picture, self.motion_field(state, mesh, scene, size)).clamp_(0, 1)

    def _outer(self, state: ReferenceState, mesh: Tensor, scene: Tensor | None, size: int) -> Tensor:
        """Displacements outside the face, [B, size, size, 2]."""
        at, motion, trust = self._mesh_controls(state, mesh)
        if scene is None:
            offsets, heard = self._still_scene(motion, mesh)
            count = _DEFAULT_SCENE
        else:
            count = scene.shape[1] if scene.ndim == 4 else 0
            if count not in _SCENE_SIZES or scene.shape != (len(mesh), count, count, 2):
                raise ShapeError("scene", f"[{len(mesh)}, G, G, 2] with G of 5, 7 or 9", tuple(scene.shape))
            offsets = scene.reshape(len(mesh), -1, 2).float()
            heard = self.scene_trust(mesh, count).reshape(len(mesh), -1)
        places = flow.grid_points(count, mesh).expand(len(mesh), -1, -1)
        return flow.spline_field(
            torch.cat([at, places], 1),
            torch.cat([motion, offsets], 1),
            flow.stiffness(torch.cat([trust, heard], 1)),
            self.field_size,
            size,
        )

    def _mesh_controls(self, state: ReferenceState, mesh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Place, displacement [B, N, 2] and trust [B, N] of the mesh points that carry the spline."""
        at = mesh[:, self.controls, :2]
        facing = raster.vertex_facing(mesh, self.triangles, SURFACE_POINTS)[:, self.controls]
        trust = flow.smooth_step(facing, -0.1, 0.2) * state.trust[self.controls]
        return at, state.mesh[self.controls, :2] - at, trust

    def scene_basis(self, state: ReferenceState, mesh: Tensor, count: int, nodes: int) -> Tensor:
        """How far the field outside the face follows each scene point: it is affine in their offsets.

        Args:
            state: the reference picture.
            mesh: current meshes, [B, 478, 3], crop units.
            count: scene points a side.
            nodes: cells a side; the field is taken at their centres.

        Returns:
            [B, nodes * nodes, count * count], the displacement of each cell for a unit offset of each point.
        """
        at, _, trust = self._mesh_controls(state, mesh)
        places = flow.grid_points(count, mesh).expand(len(mesh), -1, -1)
        heard = self.scene_trust(mesh, count).reshape(len(mesh), -1)
        unit = torch.eye(count * count, device=mesh.device).expand(len(mesh), -1, -1)
        values = torch.cat([at.new_zeros(*at.shape[:2], count * count), unit], 1)
        controls = torch.cat([at, places], 1)
        weights = flow.fit_spline(controls, values, flow.stiffness(torch.cat([trust, heard], 1)))
        step = (torch.arange(nodes, device=mesh.device) + 0.5) / nodes
        cells = torch.stack(torch.meshgrid(step, step, indexing="xy"), -1).reshape(-1, 2)
        return flow.evaluate_spline(controls, weights, cells)

    def _still_scene(self, motion: Tensor, mesh: Tensor) -> tuple[Tensor, Tensor]:
        """Scene points when none are sent, and their trust [B, G * G].

        The crop's border stays, and so does what is further from the face than a head, more loosely; what
        is below the chin goes half way with the head.
        """
        points = mesh[:, :SURFACE_POINTS, :2]
        places = flow.grid_points(_DEFAULT_SCENE, mesh)
        distance = flow.nearest_distance(places, points) / _face_size(points)
        edge = (places - 0.5).abs().amax(-1) > 0.499
        pinned = edge * flow.smooth_step(distance, *_COVERED)
        trust = torch.maximum(flow.smooth_step(distance, 0.3, 1.0), pinned)
        below = flow.smooth_step(places[:, 1] - mesh[:, _CHIN, 1:2], 0.0, 0.25)
        scene = 0.5 * below[..., None] * motion.mean(1)[:, None]
        return scene, trust

    def winners(self, mesh: Tensor, size: int) -> Tensor:
        """The nearest triangle at every pixel, [B, size, size]; see :func:`raster.winners`."""
        return raster.winners(mesh, self.triangles, size)

    def face_shift(self, state: ReferenceState, mesh: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Motion of the face's pixels.

        Args:
            state: the reference picture.
            mesh: current meshes, [B, 478, 3], crop units.
            ids: triangle of each pixel, [B, S, S], -1 for pixels that are not wanted.

        Returns:
            For the N pixels that are wanted: displacement [N, 2], weight [N] and flat index [N].
        """
        size, ids = ids.shape[-1], ids.reshape(-1)
        pixels = torch.nonzero(ids >= 0).squeeze(1)
        triangle, frame = ids[pixels], pixels // (size * size)
        corners = mesh[:, self.triangles, :2]
        planes, _ = raster.barycentric_planes(corners)
        weight = (state.trust * self.inner)[self.triangles].expand(len(mesh), -1, -1)
        values = torch.cat([state.mesh[self.triangles, :2] - corners, weight[..., None]], -1)
        place = raster.pixel_places(pixels, size)
        share = raster.barycentric(planes[frame, triangle], place)
        seen = (share[..., None] * values[frame, triangle]).sum(1)
        shift, region = seen[:, :2], self.regions[triangle]
        for eye in gaze.EYES:
            chosen = torch.nonzero(region == eye.region).squeeze(1)
            opening = state.eyes[eye.number]
            part = gaze.look(eye, mesh, state.mesh, opening, frame[chosen], place[chosen, :2], shift[chosen])
            shift = shift.index_copy(0, chosen, part)
        return shift, seen[:, 2], pixels


def _face_size(points: Tensor) -> Tensor:
    """Mean of the width and height of [B, N, 2] points: [B, 1]."""
    return (points.amax(1) - points.amin(1)).mean(-1, keepdim=True).clamp(min=1e-6)
