"""``--synthesize retinotopy``: wedges and rings that nobody has seen, shown to the models."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bids_encoder.analysis.plan import Plan
from bids_encoder.bids.annex import lacks_content
from bids_encoder.config.settings import Settings
from bids_encoder.derivatives.write import Analysis, is_done, write_statmap
from bids_encoder.errors import MissingInputError, UsageError
from bids_encoder.experiments.context import ExperimentContext
from bids_encoder.features.feature_source import FeatureSource
from bids_encoder.grids.grid import Grid
from bids_encoder.grids.structures import PartsGrid, with_meshes
from bids_encoder.report.retinotopy import write_examples
from bids_encoder.runtime import console
from bids_encoder.stimuli.folder import is_picture, pictures_in
from bids_encoder.stimuli.generated import Drawn
from bids_encoder.stimuli.images import read_image
from bids_encoder.stimuli.wedges import (
    EDGE,
    WEDGE_STEP,
    WEDGE_WIDTH,
    Aperture,
    fill_screen,
    rings,
    see_through,
    wedges,
)
from bids_encoder.synthesis.retinotopy import fit_angle, fit_eccentricity

logger = logging.getLogger(__name__)

N_CARRIERS = 25
SMOOTHING = 1.0  # voxels
SHOWN_F = 1.0
MOSTLY = 0.5  # of a picture's pixels on one grey level
KINDS = ("angle", "eccentricity", "retinotopy_f")
_AT_ONCE = 25  # maps that are smoothed


def check(settings: Settings) -> None:
    """Find out before anything is computed what cannot go well.

    Raises
    ------
    UsageError
        Features were computed elsewhere.
    MissingInputError, DataError
        The folder of ``--carrier-images`` is missing, empty or a file.
    """
    if settings.network.features is not None:
        raise UsageError(
            "Wedges and rings cannot be shown to a network that is not here.",
            place="--synthesize retinotopy",
            found=f"--features {settings.network.features}",
            remedy="fit with --network, or leave out --synthesize retinotopy",
        )
    if settings.synthesis.carrier_images is not None:
        pictures_in(settings.synthesis.carrier_images, "--carrier-images")


def check_plan(settings: Settings, plan: Plan | None, source: FeatureSource) -> None:
    """Find out whether there are pictures to be seen through the apertures.

    Raises
    ------
    UsageError
        The models are of motion energy.
    MissingInputError
        Only films were shown.
    """
    source.check_new(())
    if plan is not None and settings.synthesis.carrier_images is None:
        _pictures_among(settings, plan.stimuli)


def run(lab: ExperimentContext) -> str:
    """Write the maps of angle, eccentricity and F, or skip what is done already.

    Returns
    -------
    str
        What came out, in a few words.

    Raises
    ------
    MissingInputError, DataError
        There are no pictures to be seen through the apertures, or they cannot be read.
    """
    chosen = lab.settings.synthesis
    screens = {path.name: fill_screen(read_image(path)) for path in _carriers(lab)}
    grid = lab.saved.grid
    if lab.meshes and isinstance(grid, PartsGrid):
        grid = with_meshes(grid, lab.meshes)
    analysis = lab.start(
        experiment="retinotopy",
        carriers={
            name: Drawn(partial(np.asarray, screen)).digest for name, screen in screens.items()
        },
        surround=chosen.surround,
        stimulus_degrees=chosen.stimulus_degrees,
        smoothing=SMOOTHING,
        **({"meshes": [mesh.digest for mesh in lab.meshes.values()]} if lab.meshes else {}),
    )
    title = f"task {lab.saved.names['task']}: retinotopy"
    examples = _examples(list(screens.values()), chosen.surround)
    write_examples(lab.datasets[""], lab.saved.names, examples)
    if all(is_done(analysis, kind) for kind in KINDS):
        logger.info(f"{title} is there already, with the same models and settings")
        return f"{title} done before"
    _warn_of_uniform(list(screens.values()))
    with console.stage("retinotopy") as words:
        to_wedges = _responses(lab, grid, wedges(), list(screens.values()))
        angle, f = fit_angle(to_wedges, _places(wedges(), len(screens)))
        del to_wedges
        to_rings = _responses(lab, grid, rings(), list(screens.values()))
        eccentricity = fit_eccentricity(to_rings, _places(rings(), len(screens)))
        del to_rings
        clear = _clear(lab, f)
        words += [clear, f"{len(screens)} pictures behind wedges"]
    _write(lab, analysis, angle, eccentricity, f, list(screens))
    return f"{title}: {clear}"


def _clear(lab: ExperimentContext, f: np.ndarray) -> str:
    """In how many of the voxels that count the predicted responses depend on the angle."""
    counted = lab.counted
    if counted is None:
        where, rule = np.isfinite(f), f"{lab.places}, of whose models no test is here"
    else:
        where, rule = counted.where, counted.rule
    shown = np.count_nonzero(where & (np.nan_to_num(f) > SHOWN_F))
    return f"F > {SHOWN_F:g} in {shown} of {np.count_nonzero(where)} {rule}"


def _carriers(lab: ExperimentContext) -> list[Path]:
    """The pictures that are seen through the apertures."""
    chosen = lab.settings.synthesis
    if chosen.carrier_images is not None:
        found = pictures_in(chosen.carrier_images, "--carrier-images")
    else:
        found = _pictures_among(lab.settings, lab.saved.unseen, lab.saved.stimuli)
    if len(found) < N_CARRIERS:
        logger.warning(
            f"Only {len(found)} pictures are seen through wedges and rings; {N_CARRIERS} average "
            "out better what they show (--carrier-images)."
        )
        return found
    random = np.random.default_rng(chosen.synthesis_seed)
    return [found[i] for i in np.sort(random.choice(len(found), N_CARRIERS, replace=False))]


def _pictures_among(settings: Settings, *ids: Iterable[str]) -> list[Path]:
    """The pictures of the first of these collections of stimuli that has some."""
    folder = settings.stimuli.stim_dir or settings.bids_dir / "stimuli"
    n_named = 0
    for some in ids:
        files = [folder / name for name in sorted(some) if is_picture(name)]
        n_named += len(files)
        if found := [path for path in files if path.is_file() and not lacks_content(path)]:
            return found
    raise MissingInputError(
        "There are no pictures to be seen through wedges and rings.",
        file=folder,
        found=f"none of the {n_named} pictures of the dataset" if n_named else "films only",
        remedy=("fetch them, or " if n_named else "")
        + "give other pictures with --carrier-images DIR",
    )


def _warn_of_uniform(screens: Sequence[np.ndarray]) -> None:
    """Warn where there is mostly nothing to be seen in the pictures."""
    shares = []
    for screen in screens:
        counts = np.bincount(screen.mean(axis=2).astype(int).ravel() // 4)
        shares.append(counts.max() / counts.sum())
    if np.median(shares) > MOSTLY:
        logger.warning(
            f"The pictures behind wedges and rings are mostly uniform ({np.median(shares):.0%} of "
            "one grey level): natural pictures (--carrier-images DIR) give better maps, of "
            "eccentricity above all"
        )


def _responses(
    lab: ExperimentContext, grid: Grid, apertures: Sequence[Aperture], screens: Sequence
) -> np.ndarray:
    """Predicted maps, smoothed: (apertures × pictures, V) float32, aperture by aperture."""
    surround = lab.settings.synthesis.surround
    pictures = {
        f"{aperture.name} {number}": Drawn(partial(see_through, screen, aperture, surround))
        for aperture in apertures
        for number, screen in enumerate(screens)
    }
    store = lab.show(pictures)
    maps = lab.saved.predict_mean(store, list(pictures), lab.layers)
    for start in range(0, len(maps), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        maps[some] = grid.smooth(maps[some], SMOOTHING)
    return maps


def _examples(screens: Sequence[np.ndarray], surround: int) -> list[tuple[str, np.ndarray]]:
    """Some apertures, with another picture behind each, and what they are."""
    named = [(f"{one.angle:.0f}°", one) for one in wedges()[::4]]
    named += [(f"ring {number}", one) for number, one in enumerate(rings(), start=1)][::3]
    return [
        (title, see_through(screens[number % len(screens)], one, surround))
        for number, (title, one) in enumerate(named)
    ]


def _places(apertures: Sequence[Aperture], n_pictures: int) -> np.ndarray:
    """Angle or eccentricity behind each predicted map."""
    places = [one.angle if one.eccentricity is None else one.eccentricity for one in apertures]
    return np.repeat(np.array(places, dtype=float), n_pictures)


def _smoothing(lab: ExperimentContext) -> str:
    gaussian = f"Gaussian, standard deviation {SMOOTHING:g}"
    if lab.saved.grid.form is None:
        return f"{gaussian} voxel, inside the mask"
    if lab.meshes:
        return f"{gaussian} mean length of an edge, along the surface"
    return "none on the cortex, whose mesh is not known"


def _write(
    lab: ExperimentContext, analysis: Analysis, angle, eccentricity, f, carriers: list[str]
) -> None:
    degrees = lab.settings.synthesis.stimulus_degrees
    scale = 1.0 if degrees is None else degrees / 2
    extra = {
        "Layers": list(lab.layers),
        "Carriers": carriers,
        "WedgeWidth": WEDGE_WIDTH,
        "WedgeStep": WEDGE_STEP,
        "RingEccentricities": [
            round(one.eccentricity * scale, 4) for one in rings() if one.eccentricity is not None
        ],
        "Surround": lab.settings.synthesis.surround,
        "EdgeBlur": f"Gaussian, standard deviation {EDGE:g} of the picture's width",
        "Smoothing": _smoothing(lab),
        "ShownAbove": SHOWN_F,
    }
    units = "half the width of the pictures" if degrees is None else "degrees of visual angle"
    grid = lab.saved.grid
    write_statmap(analysis, "angle", angle, grid, extra=extra)
    write_statmap(
        analysis, "eccentricity", eccentricity * scale, grid, extra={**extra, "Units": units}
    )
    # It comes last and means: done.
    dof = {"DegreesOfFreedom": [2, len(wedges()) * len(carriers) - 3]}
    write_statmap(analysis, "retinotopy_f", f, grid, extra={**extra, **dof})
