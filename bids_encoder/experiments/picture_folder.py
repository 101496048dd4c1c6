"""``--synthesize FOLDER/``: what the models predict for each picture of a folder."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_encoder.analysis.plan import Plan
from bids_encoder.config.settings import Settings
from bids_encoder.derivatives import file_names
from bids_encoder.derivatives.leftovers import remove_old_experiment
from bids_encoder.derivatives.seals import sidecar_of
from bids_encoder.derivatives.write import Analysis, is_done, write_series
from bids_encoder.experiments.context import ExperimentContext
from bids_encoder.features.feature_source import FeatureSource
from bids_encoder.runtime import console
from bids_encoder.synthesis.conditions import digest_of
from bids_encoder.synthesis.folder import PictureFolder, read_folder

logger = logging.getLogger(__name__)

_COLUMNS = {
    "volume": "Which volume of the image, from 0; on surfaces, which data array or map.",
    "filename": "The picture, relative to the folder.",
    "trained": "1 where the models have learned from this very picture (by content): its "
    "prediction is not one of something new. 0 else.",
}
_MEAN_COLUMNS = {
    "volume": "Which volume of the image, from 0; on surfaces, which data array or map.",
    "column": "Column of the table in the folder.",
    "value": "Value in that column.",
    "pictures": "Number of pictures with it, of which the volume is the mean prediction.",
}


@dataclass(frozen=True)
class ShownPictures:
    """The experiment that shows every picture of a folder."""

    path: Path

    @property
    def label(self) -> str:
        """The folder's name in the names of files."""
        return file_names.label(self.path.resolve().name)

    def check(self, settings: Settings) -> None:
        """Raise what is wrong with the folder and its table."""
        read_folder(self.path)
        file_names.label(self.path.resolve().name)

    def check_plan(self, settings: Settings, plan: Plan | None, source: FeatureSource) -> None:
        """Raise if the pictures cannot be shown to what the models were fitted with."""
        source.check_new(read_folder(self.path).files)

    def run(self, lab: ExperimentContext) -> str:
        """Write one map a picture, and the means over pictures with the same value."""
        folder = read_folder(self.path)
        digests = [digest_of(file) for file in folder.files.values()]
        table = repr([list(folder.files), digests, dict(folder.columns)])
        analysis = lab.start(
            experiment="pictures",
            pictures=hashlib.sha256(table.encode()).hexdigest(),
            features=lab.source.identity_of(sorted(folder.files)),
        )
        names = {"contrast": self.label}
        title = f"task {lab.saved.names['task']}: pictures of {self.path.resolve().name}"
        if _is_done(analysis, names):
            logger.info(f"{title} are there already, with the same models")
            return f"{title} done before"
        ids = list(folder.files)
        with console.stage("pictures") as words, console.progress("features", "pictures") as bar:
            store = lab.source.store(
                folder.files,
                blank=False,
                cache_dir=lab.settings.resources.work_dir,
                on_progress=bar,
            )
            first = next(iter(lab.saved.models.values()))
            known = set(first.stamps)
            trained = [stamp in known for stamp in store.stamps(first.layer, ids)]
            if any(trained):
                logger.warning(
                    f"the models have learned from {sum(trained)} of the {len(ids)} pictures of "
                    f"{self.path} (column 'trained'); a file of contrasts holds such pictures out"
                )
            maps = lab.saved.predict_mean(store, ids, lab.layers)
            words.append(f"{len(ids)} pictures")
        means = list(_means(folder, maps))
        extra = {
            "Layers": list(lab.layers),
            "Folder": self.path.resolve().name,
            "Means": len(means),
        }
        if means:
            columns: dict[str, Sequence] = {
                "volume": list(range(len(means))),
                **{
                    name: [one[k] for one in means]
                    for k, name in enumerate(("column", "value", "pictures"))
                },
            }
            write_series(
                analysis, "prediction_mean", np.stack([one[3] for one in means]), lab.saved.grid,
                [f"{column} {value}" for column, value, *_ in means],
                columns, _MEAN_COLUMNS, extra=extra, **names,
            )  # fmt: skip
        own = {name: values for name, values in folder.columns.items() if name not in _COLUMNS}
        columns = {
            "volume": list(range(len(ids))),
            "filename": ids,
            "trained": [int(one) for one in trained],
            **own,
        }
        meanings = _COLUMNS | {name: f"Column {name} of the folder's table." for name in own}
        # It comes last and means: done.
        write_series(
            analysis, "prediction", maps, lab.saved.grid, ids, columns, meanings,
            extra=extra, **names,
        )  # fmt: skip
        remove_old_experiment(analysis, self.label)
        return f"{title}: {len(ids)}"


def _is_done(analysis: Analysis, names: Mapping[str, str]) -> bool:
    """Whether the predictions are there, and the means, if there are some."""
    if not is_done(analysis, "prediction", **names):
        return False
    side = sidecar_of(analysis.sidecars("prediction", **names)[-1])
    return not side.get("Means") or is_done(analysis, "prediction_mean", **names)


def _means(folder: PictureFolder, maps: np.ndarray) -> Iterator[tuple[str, str, int, np.ndarray]]:
    """Mean predictions by the values of columns that tell groups of pictures apart."""
    for name, values in folder.columns.items():
        cells = np.array(values, dtype=object)
        distinct = list(dict.fromkeys(values))
        if not 1 < len(distinct) < len(values):
            continue
        for value in distinct:
            rows = cells == value
            yield name, value, int(rows.sum()), maps[rows].mean(axis=0)
