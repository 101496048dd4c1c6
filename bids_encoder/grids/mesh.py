"""A triangle mesh: its edges, and diffusion along it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

_STEPS = 8  # of the diffusion; more change little


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangulated surface.

    Attributes
    ----------
    coordinates : (N, 3) float array
        Of the vertices, in millimetres.
    faces : (F, 3) int array
        Corners of the triangles.
    """

    coordinates: np.ndarray
    faces: np.ndarray

    @cached_property
    def edges(self) -> np.ndarray:
        """Pairs of vertices that an edge joins, (E, 2), each once."""
        pairs = np.concatenate(
            [self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]]
        )
        return np.unique(np.sort(pairs, axis=1), axis=0)

    @cached_property
    def digest(self) -> str:
        """Changes with the mesh."""
        content = self.coordinates.astype("<f4").tobytes() + self.faces.astype("<i4").tobytes()
        return hashlib.sha256(content).hexdigest()[:16]

    @cached_property
    def edge_length(self) -> float:
        """Mean length of an edge in millimetres: the distance between neighbours."""
        ends = self.coordinates[self.edges]
        return float(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).mean())


def diffuse(mesh: Mesh, keep: np.ndarray, values: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth maps along a mesh with its heat kernel, within some of its vertices.

    The heat equation du/dt = Δu is solved until t = σ²/2, when a point has spread to a
    Gaussian of standard deviation σ along the surface. Δ is the cotangent Laplacian of
    the triangles whose corners are all kept, so that nothing crosses the border of the
    kept vertices; negative weights (of obtuse angles) are set to 0, so that each value
    is an average of values. A vertex without a whole triangle keeps its value.

    Parameters
    ----------
    mesh : Mesh
        N vertices.
    keep : (N,) bool array
        V vertices.
    values : (L, V) array
        Finite.
    sigma : float
        Standard deviation in units of the mean length of an edge.

    Returns
    -------
    (L, V) float64 array

    References
    ----------
    Chung et al. 2005, NeuroImage 25, 1256-1265 (heat kernel smoothing); Meyer, Desbrun,
    Schröder & Barr 2003 (cotangent Laplacian).
    """
    new = np.cumsum(keep) - 1
    faces = new[mesh.faces[keep[mesh.faces].all(axis=1)]]
    points = mesh.coordinates[keep]
    n = len(points)
    stiffness, area = sparse.csc_matrix((n, n)), np.zeros(n)
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        u, v = points[faces[:, b]] - points[faces[:, a]], points[faces[:, c]] - points[faces[:, a]]
        double_area = np.linalg.norm(np.cross(u, v), axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            cotangent = np.where(double_area > 0, (u * v).sum(axis=1) / double_area, 0)
        ends = (faces[:, b], faces[:, c])
        stiffness += sparse.csc_matrix((cotangent / 2, ends), shape=(n, n))
        area += np.bincount(faces[:, a], weights=double_area / 6, minlength=n)
    stiffness = (stiffness + stiffness.T).tocsc()
    stiffness.data = stiffness.data.clip(0)
    degree = np.asarray(stiffness.sum(axis=0)).ravel()
    area = np.where(area > 0, area, 1.0)
    time = (sigma * mesh.edge_length) ** 2 / 2 / _STEPS
    solver = splu((sparse.diags(area + time * degree) - time * stiffness).tocsc())
    smoothed = values.astype(np.float64).T
    for _ in range(_STEPS):
        smoothed = solver.solve(area[:, None] * smoothed)
    return smoothed.T
