"""Generators: pictures from a reference picture, meshes and scene points."""

from facecodec.generator.model import ReferenceState, WarpGenerator
from facecodec.generator.topology import MeshTopology, Region, load_topology

__all__ = ["MeshTopology", "ReferenceState", "Region", "WarpGenerator", "load_topology"]
