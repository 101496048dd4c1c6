"""What came before networks: the Gabor pyramid and motion energy, as feature spaces.

Both show the whole picture (fit into a square with grey margins, as networks see it) to
quadrature pairs of Gabor filters at several places, orientations and spatial
frequencies, and take the size of each pair's answer: sqrt(sin² + cos²), which is log
compressed, log(1 + x). Pictures are luminance (CIE L*, 0 to 100) less that of mid-grey, so
that an empty screen is all zeros.

*gabor* looks at single pictures or frames (Kay et al. 2008, Nature 452:352). The filters
of *motion_energy* also extend over two thirds of a second of a film, and are tuned to a
direction and a temporal frequency of motion (Adelson and Bergen 1985, J Opt Soc Am A
2:284; Nishimoto et al. 2011, Curr Biol 21:1641). Filters and their places are those of
pymoten. A picture is a film that stands still; before and after a film the screen is grey.

Layers are bands: ``sf4`` are the filters of 4 cycles per image, ``tf2`` those of 2 Hz,
``all`` all of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import linalg, sparse

from bids_encoder.errors import UsageError
from bids_encoder.features.cache import FORMAT_VERSION, FeatureLayout
from bids_encoder.features.reduction import Reduction
from bids_encoder.networks.preprocess import fit_to_square
from bids_encoder.stimuli.images import GREY

GABOR, MOTION_ENERGY = PYRAMIDS = ("gabor", "motion_energy")
_SIZE = {GABOR: 128, MOTION_ENERGY: 96}  # side of the square, in pixels
_SPATIAL = {GABOR: (2, 4, 8, 16, 32), MOTION_ENERGY: (0, 2, 4, 8, 16)}  # cycles per image
_TEMPORAL = {GABOR: (0,), MOTION_ENERGY: (0, 2, 4)}  # Hz
_DIRECTIONS = {GABOR: 22.5 * np.arange(8), MOTION_ENERGY: 45.0 * np.arange(8)}  # degrees
_SLOWEST = 10.0  # frames per second that 4 Hz need
_MASK = 0.001  # where a filter is smaller it is left out, as in pymoten
_SPATIAL_NAMES = ("centerh", "centerv", "direction", "spatial_freq", "spatial_env")
_CITATION = {
    GABOR: "Kay, Naselaris, Prenger, Gallant (2008). Identifying natural images from human brain "
    "activity. Nature 452:352-355. Filters: pymoten.",
    MOTION_ENERGY: "Nishimoto, Vu, Naselaris, Benjamini, Yu, Gallant (2011). Reconstructing visual "
    "experiences from brain activity evoked by natural movies. Current Biology 21:1641-1646. "
    "Filters: pymoten.",
}


@dataclass(frozen=True, eq=False)
class Pyramid:
    """A pyramid of filters: an `Extractor`.

    Attributes
    ----------
    name : "gabor" or "motion_energy"
    layout : FeatureLayout
        Its layers are bands of filters.
    spatial : sparse (2 s, size²) array
        The sines of s spatial filters, then the cosines.
    places : (f,) int
        Spatial filter of each of the f filters.
    frequencies : (f,) array
        Temporal frequency of each, in Hz.
    temporal : dict of frequency to two (w,) arrays
        Sine and cosine over w samples of a film; empty for pictures.
    members : tuple of int arrays
        Filters of each layer.
    """

    name: str
    layout: FeatureLayout
    spatial: sparse.csr_array
    places: np.ndarray
    frequencies: np.ndarray
    temporal: Mapping[float, tuple[np.ndarray, np.ndarray]]
    members: tuple[np.ndarray, ...]
    device: str = "cpu"
    batch: int = 32

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the bands."""
        return self.layout.layers

    @property
    def citation(self) -> str:
        """What to cite."""
        return _CITATION[self.name]

    @property
    def context(self) -> int:
        """Half the length of the temporal filters, in samples."""
        return max((len(sine) // 2 for sine, _ in self.temporal.values()), default=0)

    def prepare(self, image: np.ndarray) -> torch.Tensor:
        """Luminance of a picture, less that of grey: (size²,) float32."""
        square = fit_to_square(image, _SIZE[self.name])
        return torch.from_numpy(luminance(square).ravel() - _grey())

    def compute(self, batch: torch.Tensor) -> torch.Tensor:
        """Compressed energies of n + 2 context pictures: (n, total) float32."""
        answers = self.spatial @ batch.numpy().T
        sine, cosine = np.split(answers, 2)
        energy = np.empty((len(self.places), batch.shape[0] - 2 * self.context), np.float32)
        if not self.temporal:
            energy[:] = np.hypot(sine, cosine)[self.places]
        for frequency, (temporal_sine, temporal_cosine) in self.temporal.items():
            ours = np.flatnonzero(self.frequencies == frequency)
            a, b = sine[self.places[ours]], cosine[self.places[ours]]
            s = _moving(temporal_sine, batch.shape[0])
            c = _moving(temporal_cosine, batch.shape[0])
            energy[ours] = np.hypot(a @ c + b @ s, b @ c - a @ s)
        compressed = np.log1p(energy)
        return torch.from_numpy(np.concatenate([compressed[one] for one in self.members]).T.copy())

    def replica(self) -> Pyramid:
        """Itself: computing changes nothing in it."""
        return self


def make_pyramid(name: str, layers: Sequence[str] = (), fps: float = 15.0) -> Pyramid:
    """Make the filters.

    Parameters
    ----------
    name : "gabor" or "motion_energy"
    layers : sequence of str
        Bands: "sf4" (cycles per image), "tf2" (Hz) or "all"; default: each spatial
        frequency.
    fps : float
        Samples of films per second, for motion energy.

    Raises
    ------
    UsageError
        No such band; or films are sampled too rarely for motion energy.
    """
    if name == MOTION_ENERGY and fps < _SLOWEST:
        raise UsageError(
            "Films are sampled too rarely for motion energy, which looks at up to 4 Hz.",
            place="--frames-per-second",
            found=f"{fps:g}",
            expected=f"at least {_SLOWEST:g}",
            remedy="leave the option out: 15 is the default",
        )
    from moten.core import mk_3d_gabor, mk_moten_pyramid_params

    width = int(fps * 2 / 3) if name == MOTION_ENERGY else 1
    names, table = mk_moten_pyramid_params(
        fps,
        filter_temporal_width=width,
        aspect_ratio=1.0,
        spatial_frequencies=_SPATIAL[name],
        spatial_directions=_DIRECTIONS[name],
        temporal_frequencies=_TEMPORAL[name],
    )
    columns = [names.index(column) for column in _SPATIAL_NAMES]
    _, example, places = np.unique(
        table[:, columns].round(9), axis=0, return_index=True, return_inverse=True
    )
    spatial = _spatial_filters(table[example][:, columns], _SIZE[name])
    frequencies, temporal = table[:, names.index("temporal_freq")], {}
    if name == MOTION_ENERGY:
        for frequency in np.unique(frequencies):
            row = table[np.argmax(frequencies == frequency)]
            *_, sine, cosine = mk_3d_gabor((2, 2), **dict(zip(names, row, strict=True)))
            temporal[float(frequency)] = (
                np.asarray(sine, np.float32),
                np.asarray(cosine, np.float32),
            )
    bands = _bands(name, table[:, names.index("spatial_freq")], frequencies)
    chosen = _choose(name, layers, bands)
    return Pyramid(
        name=name,
        layout=_layout(name, chosen, fps),
        spatial=spatial,
        places=places.ravel(),
        frequencies=frequencies,
        temporal=temporal,
        members=tuple(chosen.values()),
    )


def _spatial_filters(table: np.ndarray, side: int) -> sparse.csr_array:
    """The sines of Gabor filters, then their cosines, each a row of pixels.

    Rows of the table: place across and down (0 to 1), direction in degrees, cycles per
    image, standard deviation of the Gaussian (of the image's side).
    """
    axis = np.linspace(0, 1, side)
    rows, pixels, values = [], [], []
    for row, (across, down, direction, frequency, deviation) in enumerate(table):
        angle, radians = np.deg2rad(direction), 2 * np.pi * frequency

        # A Gaussian times a grating is a product of one factor per axis.
        def factor(place, step, deviation=deviation, radians=radians):
            x = axis - place
            return np.exp(-(x**2) / (2 * deviation**2) + 1j * x * step * radians)

        gabor = np.outer(factor(down, np.sin(angle)), factor(across, -np.cos(angle))).ravel()
        there = np.flatnonzero(np.abs(gabor.imag) + np.abs(gabor.real) > _MASK)
        pixels.append(there)
        values.append(gabor[there])
        rows.append(np.full(len(there), row))
    waves, places = np.concatenate(values), (np.concatenate(rows), np.concatenate(pixels))
    shape = (len(table), side**2)
    parts = [
        sparse.csr_array((part.astype(np.float32), places), shape)
        for part in (waves.imag, waves.real)
    ]
    return sparse.vstack(parts, format="csr")


def luminance(image: np.ndarray) -> np.ndarray:
    """CIE L*, 0 to 100, of a picture, uint8 sRGB (H, W, 3): (H, W) float32."""
    weights = np.array([0.212671, 0.715160, 0.072169], np.float32)
    y = (_linear()[image] @ weights).astype(np.float32)
    bright = 116 * np.cbrt(y) - 16
    return np.where(y > (6 / 29) ** 3, bright, y * (29 / 3) ** 3).astype(np.float32)


@lru_cache(maxsize=1)
def _linear() -> np.ndarray:
    """Light of each 8-bit value of sRGB (IEC 61966-2-1)."""
    value = np.arange(256) / 255
    return np.where(
        value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92
    ).astype(np.float32)  # fmt: skip


def _grey() -> np.float32:
    return luminance(np.full((1, 1, 3), GREY, np.uint8))[0, 0]


def _moving(temporal: np.ndarray, n: int) -> np.ndarray:
    """The filter as a matrix that turns n samples into the n - 2 context in their middle.

    Tap d of w looks back by d + 1 - ceil(w / 2) samples, as in pymoten.
    """
    width = len(temporal)
    context, middle = width // 2, (width + 1) // 2
    column = np.zeros(n, np.float32)
    # Sample j contributes to result t by tap d where j = t + context - (d + 1 - middle).
    for d, value in enumerate(temporal):
        column[context - (d + 1 - middle)] = value
    row = np.zeros(n - 2 * context, np.float32)
    row[0] = column[0]
    return np.ascontiguousarray(linalg.toeplitz(column, row))


def _bands(name: str, spatial: np.ndarray, temporal: np.ndarray) -> dict[str, np.ndarray]:
    bands = {f"sf{band}": np.flatnonzero(spatial == band) for band in _SPATIAL[name]}
    if name == MOTION_ENERGY:
        bands |= {f"tf{band}": np.flatnonzero(temporal == band) for band in _TEMPORAL[name]}
    return {**bands, "all": np.arange(len(spatial))}


def _choose(
    name: str, layers: Sequence[str], bands: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    for layer in layers:
        if layer not in bands:
            near = difflib.get_close_matches(layer, bands, n=3, cutoff=0.4)
            raise UsageError(
                f"{name} has no layer {layer!r}.",
                place="--layers",
                expected=f"some of {', '.join(bands)}",
                remedy=f"near ones: {', '.join(near)}" if near else None,
            )
    wanted = layers or [band for band in bands if band.startswith("sf")]
    return {band: filters for band, filters in bands.items() if band in wanted}


def _layout(name: str, bands: Mapping[str, np.ndarray], fps: float) -> FeatureLayout:
    side = _SIZE[name]
    description = {
        "format": FORMAT_VERSION,
        "network": name,
        "weights": "none",
        "preprocessing": f"whole picture scaled (bilinear) to fit {side} x {side}, margins grey; "
        f"CIE L* less that of grey {GREY}",
        "spatial_frequencies": list(_SPATIAL[name]),
        "directions": _DIRECTIONS[name].tolist(),
        "temporal_frequencies": list(_TEMPORAL[name]),
        "frames_per_second": fps if name == MOTION_ENERGY else None,
        "layers": [{"name": band, "filters": len(filters)} for band, filters in bands.items()],
        "reduction": "sqrt(sin^2 + cos^2), log(1 + x)",
    }
    sizes = [len(filters) for filters in bands.values()]
    return FeatureLayout(description, tuple(bands), tuple(Reduction((n,), 1, (n,)) for n in sizes))
